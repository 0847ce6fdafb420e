"""A sweep loses no more than it must, whatever launches its jobs."""

import json
import subprocess
import sys

import pytest
from conftest import TOY, call
from planted import complete_seeds, endings, environment, states, sweep


def test_a_job_that_cannot_even_be_named_does_not_stop_the_others(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    options = ("train", "-m", *TOY, "data=digits_demo,toy", "method=source_only")
    assert call(*options) == 1
    assert states(capfd.readouterr().out) == {0: "failed", 1: "done"}
    assert call(*options) == 1
    found = endings(capfd.readouterr().out)
    assert found[1][0] == "skipped"
    assert "net and data do not fit" in found[0][1]


def test_a_worker_of_joblib_that_is_killed_ends_the_sweep_and_a_second_start_completes_it(tmp_path):
    seeds, joblib = (
        "seed=0,1,2,3",
        ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.launcher.pre_dispatch=2"),
    )
    status, out, err = sweep(tmp_path, seeds, *joblib, failed=[0], killed=[2])
    assert status == 1
    found = endings(out)
    assert found[0][0] == "failed"
    assert found[0][1].endswith("ValueError: planted failure")
    assert found[2][0] == "failed"
    assert "stopped in the middle: the launcher joblib broke: A worker process" in found[2][1]
    before = complete_seeds(tmp_path)
    assert {number for number, (ended, *_) in found.items() if ended == "done"} == set(before)
    assert "Traceback" not in err

    status, out, _ = sweep(tmp_path, seeds)
    assert status == 0
    assert {number for number, ended in states(out).items() if ended == "skipped"} == set(before)
    assert complete_seeds(tmp_path) == [0, 1, 2, 3]


@pytest.mark.ddp
def test_jobs_of_workers_of_joblib_use_two_processes_each(tmp_path):
    """Such a worker is another program than `da`, as which the second process of a job has to be started."""
    joblib = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer=ddp_cpu", "trainer.devices=2")
    status, out, err = sweep(tmp_path, "seed=0,1", *joblib)
    assert status == 0, out + err
    results = [json.loads(path.read_text()) for path in tmp_path.rglob("results.json")]
    assert [(one["status"], one["world_size"]) for one in results] == [("complete", 2)] * 2


@pytest.mark.parametrize(("launcher", "extra"), [("joblib", "joblib"), ("submitit_slurm", "submitit"), ("ray", "ray")])
def test_a_launcher_that_is_not_installed_is_named_with_its_extra(launcher, extra, tmp_path):
    code = """
import pkgutil, sys
walk = pkgutil.walk_packages
pkgutil.walk_packages = lambda *a, **b: (m for m in walk(*a, **b) if "_launcher" not in m.name.split(".")[1])
from da.cli import main
sys.exit(main())
"""
    command = [sys.executable, "-c", code, "train", "-m", *TOY, "seed=0,1", f"hydra/launcher={launcher}"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (f"error: hydra/launcher={launcher} is not installed: pip install 'lambda-da[{extra}]'\n")


def test_a_launcher_that_breaks_is_said_for_every_job(tmp_path):
    """No sbatch on this path."""
    status, out, _ = sweep(tmp_path, "seed=0,1", "hydra/launcher=submitit_slurm", PATH="/nowhere")
    assert status == 1
    assert all("not started: the launcher submitit_slurm broke" in rest[0] for _, *rest in endings(out).values())
