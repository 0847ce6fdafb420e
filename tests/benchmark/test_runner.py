"""Runs in processes: what is trained, what is left, and what a kill leaves."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import call
from suites import pretend, pretend_all, toy_suite

from da.benchmark import runner
from da.benchmark.cli import summary, train_missing
from da.benchmark.plan import Key, plan
from da.benchmark.suite import read_rows

ROOT = Path(__file__).parents[2]
BROKEN = "  broken: [method=mmd, init_from=later.ckpt]"
LITTLE = ("--tasks", "near", "--seeds", "0")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """Names of runs as they start; each is a process that does nothing, and is complete unless its row is `broken`."""
    names = []

    def start(run):
        names.append(str(run.key))
        if run.key.method != "broken":
            pretend(run, 0.5)
        (run.folder / runner.LOG).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / runner.LOG).write_text("error: no good\n")
        process = multiprocessing.get_context("fork").Process(target=int)
        process.start()
        return process

    monkeypatch.setattr(runner, "_start", start)
    return names


def test_a_failure_is_reported_the_others_come_out_and_it_is_tried_again(here, capsys):
    """Real runs: one that is good, and one whose checkpoint comes later."""
    suite = toy_suite(here, BROKEN)
    words = ("benchmark", "toy", "--methods", "source_only,broken", *LITTLE)
    assert call(*words, "--jobs", "2") == 1
    out = capsys.readouterr().out
    assert "failed    broken near seed 0: FileNotFoundError: there is no checkpoint" in out or "no checkpoint at" in out
    assert "1 trained, 0 finished before, 1 failed, 0 left out" in out
    assert [row["method"] for row in read_rows(suite.results)] == ["source_only"]
    assert "1 of 16 runs" in suite.table.read_text()

    assert call(*words, "--no-retry") == 1
    assert "0 trained, 1 finished before, 1 failed, 0 left out" in capsys.readouterr().out

    shutil.copy(next(here.glob("runs/**/last.ckpt")), here / "later.ckpt")
    assert call(*words) == 0
    assert "1 trained, 1 finished before, 0 failed, 0 left out" in capsys.readouterr().out
    assert len(read_rows(suite.results)) == 2


def test_a_second_call_trains_nothing(here, capsys, started):
    suite = toy_suite(here)
    pretend_all(suite, here / "runs", 0.5)
    assert call("benchmark", "toy", "--runs", here / "runs") == 0
    assert started == []
    assert "12 runs, 0 to train" in capsys.readouterr().out
    assert len(read_rows(suite.results)) == 12


def test_a_run_waits_for_what_it_starts_from_and_is_left_out_if_that_fails(here, capsys, started):
    suite = toy_suite(here, f"{BROKEN}\n  after: [method=mmd, 'init_from={{broken}}']")
    outcomes = train_missing(suite, plan(suite, here / "runs", tasks=["near"], seeds=[0]), jobs=3)
    assert started.index("source_only near seed 0") < started.index("tuned near seed 0")
    assert outcomes[Key("after", "near", 0)] == ("left out", "it starts from broken near seed 0, which is failed")
    assert summary(outcomes) == 1
    assert "failed    broken near seed 0: no good" in capsys.readouterr().out


def test_what_fails_every_time_for_one_reason_is_not_tried_to_the_end(here, started):
    suite = toy_suite(here, BROKEN)
    outcomes = train_missing(suite, plan(suite, here / "runs", ["broken"], seeds=range(5)), jobs=1)
    assert len(started) == runner.ALIKE
    assert [outcome.status for outcome in outcomes.values()].count("left out") == 10 - runner.ALIKE


def test_a_dry_run_lists_and_trains_nothing(here, capsys, started):
    suite = toy_suite(here)
    runs = plan(suite, Path("runs"), ["mmd"])
    pretend(runs[0], 0.5)
    assert call("benchmark", "toy", "--methods", "mmd", "--runs", "runs", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["complete", "missing", "missing", "missing"]
    assert [line.split()[1] for line in lines] == [run.config_hash for run in runs]
    assert started == []
    assert not suite.results.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "there is no suite 'nothing'; there are "),
        (["toy", "--methods", "dann"], "there is no row 'dann'; there are source_only, mmd, tuned"),
        (["toy", "--tasks", "middle"], "there is no task 'middle'; there are near, far"),
        (["toy", "--seeds", "7"], "toy has the seeds [0, 1], not [7]"),
        (["toy", "--jobs", "0"], "--jobs 0: at least one run at a time"),
        (["wrong", "--dry-run"], "Could not override 'data.rotatoin'"),
        (["pacs", "--methods", "mcc", *LITTLE[2:]], "set the environment variable DA_DATA_ROOT to the folder"),
    ],
)
def test_bad_input_is_2_and_one_line(here, capsys, monkeypatch, started, words, message):
    monkeypatch.delenv("DA_DATA_ROOT", raising=False)
    toy_suite(here)
    path = toy_suite(here, name="wrong").folder / "suite.yaml"
    path.write_text(path.read_text().replace("rotation", "rotatoin"))
    assert call("benchmark", *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert started == []


def test_two_at_once_do_not_train_the_same_runs(here):
    with runner.alone(here), pytest.raises(ValueError, match="another process trains the runs of"), runner.alone(here):
        pass


def test_killed_in_mid_run_its_child_ends_and_starting_again_completes(here, capsys):
    suite = toy_suite(here)
    words = ("benchmark", "toy", "--methods", "source_only", "--tasks", "near", "--jobs", "1", "--runs", "runs")
    first, second = plan(suite, Path("runs"), ["source_only"], ["near"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-m", "da", *words], env=environment, stdout=subprocess.DEVNULL)
    wait_until(lambda: (second.folder / runner.LOG).exists())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    if Path("/proc/self/cmdline").exists():
        wait_until(lambda: not running(second.folder))
    assert first.status() == "complete"
    assert second.status() != "complete"
    assert not suite.results.exists()
    assert call(*words) == 0
    assert "1 trained, 1 finished before, 0 failed, 0 left out" in capsys.readouterr().out
    assert len(read_rows(suite.results)) == 2


def wait_until(true, seconds=180):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def running(folder):
    """Processes that have a file in the folder open."""
    found = []
    for file in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if str(folder.resolve()) in str(file.readlink()):
                found.append(file)
    return found
