"""hydra/launcher=stacked with hydra.launcher.n_jobs: processes that share the runs, each with stacks of its own."""

import pytest
import torch
from conftest import TOY, call
from planted import FATAL_SEED, complete_seeds, endings, states, sweep
from stacked.test_launcher import SWEEP, results, weights_of
from stacked.test_launcher import sweep as stacked_sweep

from da.stacked.jobs import key_of, shares


def test_two_processes_leave_the_runs_of_one(tmp_path, capfd):
    one, two = tmp_path / "one", tmp_path / "two"
    assert stacked_sweep(one, *SWEEP) == stacked_sweep(two, *SWEEP, "hydra.launcher.n_jobs=2") == 0
    said = capfd.readouterr().out
    assert "mmd seeds 0, 1, 6 runs at once" in said
    assert "mmd seed 0, 3 runs at once" in said
    assert "mmd seed 1, 3 runs at once" in said
    assert "5  done     method.weights.align.high=2 seed=1" in said
    found = results(two)
    assert len(found) == 6
    assert found.keys() == results(one).keys()
    assert {run["stacked"] for run in found.values()} == {3}
    for run in found:
        here, there = weights_of(one / run, "last"), weights_of(two / run, "last")
        assert here.keys() == there.keys()
        assert all(torch.equal(value, there[name]) for name, value in here.items())


def test_a_process_that_is_killed_ends_the_sweep_and_a_second_start_completes_it(tmp_path):
    words = ("method=mmd", "seed=0,1,2,3", "hydra/launcher=stacked")
    fatal = "+validators.fatal={_target_: planted.Fatal, seed: ${seed}}"
    status, out, err = sweep(tmp_path, *words, "hydra.launcher.n_jobs=2", fatal, **{FATAL_SEED: "2"})
    assert status == 1
    found = endings(out)
    assert found[2][0] == found[3][0] == "failed"
    assert "stopped in the middle: the launcher stacked broke: A worker process" in found[2][1]
    assert "Traceback" not in err
    before = complete_seeds(tmp_path)
    status, out, _ = sweep(tmp_path, *words, fatal)
    assert status == 0
    assert [seed for seed, ended in states(out).items() if ended == "skipped"] == before
    assert complete_seeds(tmp_path) == [0, 1, 2, 3]


@pytest.mark.parametrize("number", ["0", "two"])
def test_a_number_of_processes_that_there_cannot_be_is_said(number, tmp_path, capfd):
    words = ("hydra/launcher=stacked", f"hydra.launcher.n_jobs={number}", f"runs={tmp_path}")
    assert call("train", "-m", *TOY, "method=mmd", "seed=0,1", *words) == 1
    said = f"error: hydra.launcher.n_jobs={number}: expected a number of processes, -1 for one on each core"
    assert capfd.readouterr().err.splitlines() == [said]


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_every_job_is_in_one_share_and_shares_are_alike_and_of_few_seeds(processes):
    jobs = [
        (f"method={method}", f"method.weights.align.high={weight}", f"seed={seed}")
        for method in ("mmd", "coral")
        for weight in (0.1, 1)
        for seed in range(10)
    ]
    parts = shares(jobs, processes)
    assert sorted(number for part in parts for number in part) == list(range(len(jobs)))
    if processes == 1:
        assert parts == [list(range(len(jobs)))]
        return
    for part in parts:
        assert len({key_of(jobs[number]) for number in part}) == 1
        seeds = [int(jobs[number][2][5:]) for number in part]
        assert seeds == sorted(seeds)
        assert len(set(seeds)) <= len(part) / 2 + 1
    sizes = [len(part) for part in parts]
    assert len(sizes) == 2 * processes
    assert max(sizes) - min(sizes) <= 1
