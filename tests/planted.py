"""What goes wrong in a sweep on purpose, and the sweep as its user starts it."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch
from conftest import TOY
from pytorch_lightning import Callback

from da.validators.base import Validator

ROOT = Path(__file__).parents[1]


class Trap(Callback):
    """Fails, or kills its process, when the training of these seeds begins."""

    def __init__(self, seed: int, failed: list[int], killed: list[int]) -> None:
        self.seed, self.failed, self.killed = seed, failed, killed

    def on_train_start(self, trainer, method):
        if self.seed in self.failed:
            raise ValueError("planted failure")
        if self.seed in self.killed:
            os.kill(os.getpid(), signal.SIGKILL)


FATAL_SEED = "FATAL_SEED"
"""Variable of the environment: the seed whose runs `Fatal` kills."""


class Fatal(Validator):
    """Kills its process when it scores a run of the seed that the environment names."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def score(self, seen):
        if os.environ.get(FATAL_SEED) == str(self.seed):
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.tensor(0.0)

    def bounds(self, seen):
        return -1.0, 0.0


def environment(**more):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def sweep(folder, *options, failed=(), killed=(), timeout=300, **environ):
    """Sweep over toy runs in `folder` with planted ends; return (status, stdout, stderr)."""
    trap = f"{{_target_: planted.Trap, seed: ${{seed}}, failed: {[*failed]}, killed: {[*killed]}}}"
    planted = ("~monitor", f"+monitor={trap}") if failed or killed else ()
    done = subprocess.run(
        [sys.executable, "-m", "da", "train", "-m", "method=source_only", *TOY, *planted, *options],
        cwd=folder,
        env=environment(**environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    return done.returncode, done.stdout, done.stderr


def endings(out):
    """Of the table that a sweep ends with: job number to (how it ended, the rest of its line)."""
    lines = out[out.rindex("  job  ended") :].splitlines()[1:]
    rows = [line.split(maxsplit=2) for line in lines[: next(i for i, line in enumerate(lines) if " jobs: " in line)]]
    return {int(number): (ended, *rest) for number, ended, *rest in rows}


def states(out):
    return {number: ended for number, (ended, *_) in endings(out).items()}


def complete_seeds(folder):
    """Seeds of the runs below `folder` that are complete, one for each run."""
    results = [json.loads(path.read_text()) for path in folder.rglob("results.json")]
    return sorted(one["seed"] for one in results if one["status"] == "complete")


class Known(Validator):
    """Scores -(x - best)² at every validation: a search has a known objective."""

    def __init__(self, x: float, best: float = 0.0) -> None:
        self.x, self.best = x, best

    def score(self, seen):
        return torch.tensor(-((self.x - self.best) ** 2))

    def bounds(self, seen):
        return -math.inf, 0.0
