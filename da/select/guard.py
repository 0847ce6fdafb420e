"""The guard against negative transfer: whether adaptation seems to hurt, without target labels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from da.record import CONFIG_FILE
from da.select.choice import BASELINE, Option, Task
from da.settings import NOT_IDENTITY, PLACES

PANELS = (("knn_agreement", "class_ami", "silhouette"), ("infomax", "bnm", "mano"))
"""Validators that vote: those that both runs have, of the first group of which they have any. The second needs the
predictions alone, and every run has it. benchmarks/selection shows how often they are right."""

NOT_RECIPE = NOT_IDENTITY | {"method", "discrepancy", "pretrain", "validators", "selection_metric", "seed"}
"""Root options in which a method may differ from its baseline."""


class Verdict(NamedTuple):
    """What the panel says of an option, beside source-only runs of the same seeds."""

    votes: Mapping[str, float]  # by validator: the mean over the seeds of its score minus source-only's
    seeds: tuple[int, ...]

    @property
    def helps(self) -> bool:
        """Whether more than half of the panel prefers the adapted network."""
        return 2 * self.in_favour > len(self.votes)

    @property
    def in_favour(self) -> int:
        """How many of the panel prefer the adapted network; ties are against it."""
        return sum(difference > 0 for difference in self.votes.values())


def baseline(task: Task) -> Option | None:
    """Return the source-only runs of a task, those of most seeds where there are several settings; None without any."""
    found = [option for option in task.options if option.method == BASELINE]
    return max(found, key=lambda option: len(option.runs), default=None)


def judge(option: Option, plain: Option) -> Verdict:
    """Compare an option with source-only, seed by seed, as `vote` does.

    Raises ValueError if they were not trained alike, too.
    """
    verdict = vote(option, plain)
    seed = verdict.seeds[0]
    if other := differences_of_recipe(option.runs[seed].folder, plain.runs[seed].folder):
        raise ValueError(f"{option.name} and {plain.name} were trained with other {', '.join(other)}")
    return verdict


def vote(option: Option, plain: Option, panels: Sequence[Sequence[str]] = PANELS) -> Verdict:
    """Return how each validator of a panel compares an option with source-only, over the seeds that both have.

    It is the first panel of which both have a validator. Raises ValueError if there is none, or no seed in common.
    """
    seeds = sorted(option.runs.keys() & plain.runs.keys())
    if not seeds:
        raise ValueError(f"{option.name} and {plain.name} have no seed in common")
    for panel in panels:
        if votes := _votes(option, plain, panel, seeds):
            return Verdict(votes, tuple(seeds))
    names = ", ".join(name for panel in panels for name in panel)
    raise ValueError(f"{option.name} and {plain.name} have none of the scores {names} in common")


def _votes(option: Option, plain: Option, panel: Sequence[str], seeds: Sequence[int]) -> dict[str, float]:
    votes = {}
    for name in panel:
        pairs = [(option.runs[seed].scores.get(name), plain.runs[seed].scores.get(name)) for seed in seeds]
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        if len(differences) == len(seeds):
            votes[name] = fmean(differences)
    return votes


def differences_of_recipe(a: Path, b: Path) -> list[str]:
    """Return the options, but for those of the method itself, in which the configs of two runs differ."""
    first, second = (dict(_flat(_recipe(folder))) for folder in (a, b))
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))


def _recipe(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {CONFIG_FILE}, so how it was trained is not known")
    config = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    recipe = {key: value for key, value in config.items() if key not in NOT_RECIPE}
    recipe["data"] = {key: value for key, value in recipe["data"].items() if key not in PLACES}
    return recipe


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
