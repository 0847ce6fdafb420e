"""Sweeps on a real Slurm and a real Ray, started here for the test.

They are skipped where the programs are missing: `apt-get install --no-install-recommends slurm-wlm munge`, as root;
`pip install 'lambda-da[ray]'`.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from planted import complete_seeds, endings, environment, states, sweep

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
    assert states(out) == {0: "done", 1: "failed", 2: "failed", 3: "done", 4: "done", 5: "done"}
    assert endings(out)[1][1].endswith("planted failure")
    assert " lost it" in endings(out)[2][1]
    assert complete_seeds(folder) == [0, 3, 4, 5]


SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=debug", "hydra.launcher.mem_gb=1")


def test_slurm_loses_only_the_killed_job_and_a_second_start_runs_only_what_is_missing(slurm, tmp_path):
    status, out, _ = sweep(tmp_path, SIX, *SLURM, failed=[1], killed=[2], **slurm)
    check_one_failure_and_one_kill(out, status, tmp_path)
    status, out, _ = sweep(tmp_path, SIX, *SLURM, **slurm)
    assert status == 0
    assert [number for number, ended in states(out).items() if ended == "done"] == [1, 2]


def test_ray_loses_only_the_killed_job(ray, tmp_path):
    status, out, _ = sweep(tmp_path, SIX, "hydra/launcher=ray", failed=[1], killed=[2], **ray)
    check_one_failure_and_one_kill(out, status, tmp_path)


def test_a_port_in_use_is_named_before_anything_starts(slurm, tmp_path):
    done = subprocess.run([HERE / "start-slurm.sh", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: port 16817 is in use: start-slurm.sh DIR PORT takes another one\n"
