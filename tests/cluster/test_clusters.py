"""Sweeps on a real Slurm and a real Ray, started here for the test.

They are skipped where the programs are missing: `apt-get install --no-install-recommends slurm-wlm munge`, as root;
`pip install 'lambda-da[ray]'`.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import TOY
from planted import complete_seeds, endings, environment, states, sweep

from da.models.state import load_checkpoint

pytestmark = pytest.mark.cluster
HERE = Path(__file__).parent
SIX = "seed=0,1,2,3,4,5"
slurm_is_there = Path("/usr/sbin/slurmctld").exists() and Path("/usr/sbin/munged").exists() and os.geteuid() == 0
RAY = Path(sys.executable).with_name("ray")


def exports(script, folder, *arguments, **environ):
    """Run a start script; return the variables that it says to export."""
    done = subprocess.run(
        [HERE / script, folder, *arguments], env=environment(**environ), stdout=subprocess.PIPE, text=True, check=True
    )
    lines = [line.removeprefix("export ") for line in done.stdout.splitlines() if line.startswith("export ")]
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Variables of a Slurm with one node."""
    if not slurm_is_there:
        pytest.skip("no Slurm here")
    folder = tmp_path_factory.mktemp("slurm")
    try:
        # sacct beside this file stands in for the one that needs a database
        yield exports("start-slurm.sh", folder) | {"PATH": f"{HERE}{os.pathsep}{os.environ['PATH']}"}
    finally:
        subprocess.run([HERE / "stop-slurm.sh", folder], check=True)


@pytest.fixture(scope="module")
def ray():
    """Variables of a Ray cluster that asks for a token."""
    if not RAY.exists():
        pytest.skip("no Ray here")
    folder = Path(subprocess.run(["mktemp", "-d"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    try:  # a short path: Ray puts sockets there
        yield exports("start-ray.sh", folder, PATH=f"{RAY.parent}{os.pathsep}{os.environ['PATH']}")
    finally:
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


def check_one_failure_and_one_kill(out, status, folder):
    assert status == 1
    assert states(out) == {0: "failed", 1: "failed", 2: "done", 3: "done", 4: "done", 5: "done"}
    assert " lost it" in endings(out)[0][1]
    assert endings(out)[1][1].endswith("planted failure")
    assert complete_seeds(folder) == [2, 3, 4, 5]


SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=debug", "hydra.launcher.mem_gb=1")


def test_slurm_loses_only_the_killed_job_and_a_second_start_runs_only_what_is_missing(slurm, tmp_path):
    # submitit asks after its jobs when 2, 4, 8, ... seconds have passed: of an early kill it hears sooner.
    status, out, _ = sweep(tmp_path, SIX, *SLURM, failed=[1], killed=[0], **slurm)
    check_one_failure_and_one_kill(out, status, tmp_path)
    status, out, _ = sweep(tmp_path, SIX, *SLURM, **slurm)
    assert status == 0
    assert [number for number, ended in states(out).items() if ended == "done"] == [0, 1]


LONG = ("trainer.max_epochs=4", "trainer.limit_train_batches=1.0", "data.steps_per_epoch=400")
TWO = ("trainer=ddp_cpu", "trainer.devices=2", "data.steps_per_epoch=150")  # whose steps are slower


def queue(slurm):
    """Lines of squeue: job, state, reason."""
    command = ["squeue", "--noheader", "--format=%i %T %r"]
    done = subprocess.run(command, env=environment(**slurm), stdout=subprocess.PIPE, text=True, check=True)
    return [line.split(maxsplit=2) for line in done.stdout.splitlines()]


def control(slurm, *words):
    subprocess.run(words, env=environment(**slurm), check=True)


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def weights(folder):
    (path,) = folder.rglob("checkpoints/last.ckpt")
    return load_checkpoint(path)["state_dict"]


@contextmanager
def announced(slurm, folder, *options):
    """Start a sweep of one long job and send it USR2 after its first epoch; yield the job and the process."""
    command = [sys.executable, "-m", "da", "train", "-m", "method=mmd", *TOY, *LONG, *SLURM, *options]
    with subprocess.Popen(command, cwd=folder, env=environment(**slurm), stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: [*folder.rglob("last.ckpt")])
            ((job, *_),) = queue(slurm)
            control(slurm, "scancel", "--signal=USR2", job)
            yield job, process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("processes", "started_by"),
    [
        ((), ()),
        (TWO, ("hydra.launcher.tasks_per_node=2",)),
        (TWO, ("hydra.launcher.cpus_per_task=2",)),
    ],
    ids=["one process", "two tasks", "two processes of a task"],
)
def test_a_job_that_is_preempted_goes_on_as_if_it_had_not_been(processes, started_by, slurm, tmp_path):
    """USR2, a checkpoint in the middle of an epoch, the queue again: and the weights of a run without a break."""
    with announced(slurm, tmp_path, *processes, *started_by) as (job, process):
        # Slurm lets a job wait for two minutes that it has queued again. A few seconds do: within the second in which
        # the node gave it up, it would refuse it.
        wait_for(lambda: [job, "PENDING", "BeginTime"] in queue(slurm))
        control(slurm, "scontrol", "update", f"jobid={job}", "StartTime=now+4seconds")
        out, _ = process.communicate(timeout=120)
    assert states(out) == {0: "done"}, out
    assert process.returncode == 0
    log = "".join(path.read_text() for path in tmp_path.rglob("*_log.out"))
    steps = int(re.search(r"goes on after batch (\d+), from", log)[1])
    assert 1 / 4 <= steps / (4 * (150 if processes else 400)) < 1
    (results,) = (json.loads(path.read_text()) for path in tmp_path.rglob("results.json"))
    assert results["world_size"] == (2 if processes else 1)
    status, out, error = sweep(tmp_path, "method=mmd", *LONG, *processes, "runs=whole")
    assert status == 0, out + error
    torch.testing.assert_close(weights(tmp_path / "runs"), weights(tmp_path / "whole"), atol=0, rtol=0)


def test_a_job_whose_time_is_up_says_so_and_the_same_command_goes_on(slurm, tmp_path):
    """With a limit below ten minutes submitit takes the signal for the end of the time."""
    limit = ("hydra.launcher.timeout_min=5", "hydra.launcher.max_num_timeout=0")
    with announced(slurm, tmp_path, *limit) as (_, process):
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "timed-out too many times" in endings(out)[0][1]
    status, out, _ = sweep(tmp_path, *LONG, "method=mmd")
    assert status == 0
    assert "goes on after batch" in out


def test_ray_loses_only_the_killed_job(ray, tmp_path):
    status, out, _ = sweep(tmp_path, SIX, "hydra/launcher=ray", failed=[1], killed=[0], **ray)
    check_one_failure_and_one_kill(out, status, tmp_path)


def test_a_port_in_use_is_named_before_anything_starts(slurm, tmp_path):
    done = subprocess.run([HERE / "start-slurm.sh", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: port 16817 is in use: start-slurm.sh DIR PORT takes another one\n"


def test_a_process_of_submitit_that_is_killed_loses_only_itself(tmp_path):
    status, out, _ = sweep(tmp_path, "seed=0,1", "hydra/launcher=submitit_local", killed=[0])
    assert status == 1
    assert states(out) == {0: "failed", 1: "done"}
    assert "submitit_local lost it" in endings(out)[0][1]
    assert complete_seeds(tmp_path) == [1]
