"""A small suite on toy data, and runs that only look as if they had been trained."""

import json
from pathlib import Path

from da.benchmark.plan import Run, plan
from da.benchmark.suite import Suite, read_suite

TEXT = """
title: Toy
options: [data=toy, net=mlp, trainer=smoke, figures=none, trainer.max_epochs=1]
seeds: [0, 1]
search: none
tasks: {{near: [data.rotation=30.0], far: [data.rotation=60.0]}}
methods:
  source_only: [method=source_only]
  mmd: [method=mmd]
  tuned: [method=labeled_only, "init_from={{source_only}}"]
{more}
"""


def toy_suite(folder: Path, more: str = "", name: str = "toy") -> Suite:
    """Write a suite and read it."""
    path = folder / name / "suite.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT.format(more=more))
    return read_suite(path)


def pretend(run: Run, accuracy: float, status: str = "complete", error: str | None = None) -> None:
    """Write what a run of this configuration leaves."""
    run.folder.mkdir(parents=True, exist_ok=True)
    scores = {"last": accuracy, "selected": accuracy}
    results = {
        "status": status,
        "error": error,
        "config_hash": run.config_hash,
        **{"source": "here", "target": run.key.task, "seed": run.key.seed, "git_commit": None, "steps": 3},
        "test": {"target_acc": scores, "target_macro_f1": scores, "source_acc": scores},
        "cost": {"seconds": 1.0},
    }
    (run.folder / "results.json").write_text(json.dumps(results))


def pretend_all(suite: Suite, runs: Path, accuracy: float, **only: object) -> list[Run]:
    """The same for every run of the suite, or some: better by a point with every seed."""
    planned = plan(suite, runs, **only)
    for run in planned:
        pretend(run, accuracy + 0.01 * run.key.seed)
    return planned
