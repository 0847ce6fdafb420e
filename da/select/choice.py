"""The runs of a task, scored by validators, and the one that they choose."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple

from da.report.results import Result, repetitions
from da.report.statistics import Interval, interval
from da.validators.ensemble import rank_ensemble

Weights = Literal["last", "selected"]
ORACLE = "oracle"
ENSEMBLE = "ensemble"
"""Not a validator: the mean rank by all of them that every option has."""
BASELINE = "source_only"


class Trained(NamedTuple):
    """One run of an option: what validators say of its weights, and its folder."""

    folder: Path
    scores: Mapping[str, float]  # higher is better
    target_acc: float | None  # on test rows. Target labels: never chosen by, but where the oracle is asked for


class Option(NamedTuple):
    """What can be chosen: a method with its settings, its runs by seed."""

    name: str
    method: str
    target_labels: tuple[str, ...]
    runs: Mapping[int, Trained]

    def scores(self, validator: str) -> list[float]:
        """Return a validator's scores, a seed each; empty if a run lacks it."""
        found = [run.scores.get(validator) for run in self.runs.values()]
        return [score for score in found if score is not None] if None not in found else []

    def target_acc(self) -> Interval | None:
        """Return the target test accuracy over the seeds. An ORACLE: target labels say it."""
        known = [run.target_acc for run in self.runs.values() if run.target_acc is not None]
        return interval(known) if known else None


class Task(NamedTuple):
    """A pair of domains, and what was trained on it."""

    data: str
    name: str
    options: tuple[Option, ...]


class Choice(NamedTuple):
    """Options in the order of their scores, best first, and those that could not be compared, with the reason."""

    by: str
    ranked: tuple[tuple[Option, Interval], ...]
    left_out: Mapping[str, str]

    @property
    def best(self) -> Option:
        return self.ranked[0][0]


def tasks(results: Sequence[Result], weights: Weights = "last") -> list[Task]:
    """Return the tasks of complete runs, each with its options.

    Raises ValueError where there is none, or where the runs of a task did not read the same data.
    """
    found: dict[tuple[str, str], list[Option]] = {}
    for group in repetitions(results):
        for task in sorted({run.task for run in group.runs}):
            runs = {
                run.seed: Trained(run.folder, _known(run, weights), run.target_acc.get(weights))
                for run in group.runs
                if run.task == task
            }
            option = Option(group.name, group.method, group.target_labels, runs)
            found.setdefault((group.data, task), []).append(option)
    if not found:
        raise ValueError("none of the runs is complete")
    return [Task(data, name, tuple(options)) for (data, name), options in sorted(found.items())]


def _known(run: Result, weights: Weights) -> dict[str, float]:
    scores = run.validators if weights == "last" else run.selected_validators
    return {name: score for name, score in scores.items() if score is not None}


def choose(task: Task, by: Sequence[str]) -> Choice:
    """Rank the options of a task by the mean score over their seeds, or by the mean rank where `by` has several.

    Args:
        task: whose options are compared.
        by: names of validators; `ENSEMBLE` for all that every option has; `ORACLE` for the accuracy itself, which
            target labels say.

    Options that have read target labels are compared with the others: their use of them is for you to weigh.
    Raises ValueError for a validator that no option has.
    """
    if list(by) == [ORACLE]:
        scored = [(option, accuracy) for option in task.options if (accuracy := option.target_acc())]
        if not scored:
            raise ValueError(f"--by oracle: the target of {task.name} has no labels")
        return Choice(ORACLE, tuple(sorted(scored, key=lambda one: -one[1].mean)), {})
    names = common_validators(task) if list(by) == [ENSEMBLE] else list(by)
    left_out = {
        option.name: f"its runs have no {', '.join(missing)}"
        for option in task.options
        if (missing := [name for name in names if not option.scores(name)])
    }
    compared = [option for option in task.options if option.name not in left_out]
    if not compared or not names:
        there = sorted({name for option in task.options for run in option.runs.values() for name in run.scores})
        raise ValueError(f"--by {','.join(by)}: no option of {task.name} has it; there are {', '.join(there)}")
    if len(names) == 1:
        scores = [interval(option.scores(names[0])) for option in compared]
    else:
        means = {name: [fmean(option.scores(name)) for option in compared] for name in names}
        scores = [Interval(rank, None, len(names)) for rank in rank_ensemble(means)]
    ranked = sorted(zip(compared, scores, strict=True), key=lambda one: -one[1].mean)
    return Choice(",".join(by), tuple(ranked), left_out)


def common_validators(task: Task) -> list[str]:
    """Return the validators that every run of a task has."""
    sets = [set(run.scores) for option in task.options for run in option.runs.values()]
    return sorted(set.intersection(*sets))
