"""Results files read back, and which runs are repetitions of one another."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from da.record import SCHEMA
from da.report.beside import read_config, read_data_file, read_overrides
from da.report.epochs import Epoch, numbers, read_epochs

STATUSES = ("complete", "running", "failed", "pruned")
Metric = Literal["last", "selected", "oracle"]
CALIBRATION = ("ece", "brier")
NETWORK_COSTS = ("parameters", "trainable_parameters", "macs")


@dataclass(frozen=True)
class Result:
    """One run: its results.json, with the overrides it was started with. Accuracies are fractions, None if missing."""

    folder: Path
    status: str
    error: str | None
    method: str
    data: str
    net: str
    source: str
    target: str
    seed: int
    config_hash: str
    git_commit: str | None = None
    git_dirty: bool = False
    selection_metric: str | None = None
    target_labels: tuple[str, ...] = ()
    source_acc: Mapping[Metric, float | None] = field(default_factory=dict)
    target_acc: Mapping[Metric, float | None] = field(default_factory=dict)  # "oracle": best of the epochs
    validators: Mapping[str, float | None] = field(default_factory=dict)  # of the last epoch; higher is better
    selected_validators: Mapping[str, float | None] = field(default_factory=dict)  # of the selected one
    seconds: float | None = None
    network: Mapping[str, float | None] = field(default_factory=dict)  # numbers of `NETWORK_COSTS` that are known
    overrides: Mapping[str, str] = field(default_factory=dict)  # from the command line, of settings only
    epochs: tuple[Epoch, ...] = ()  # empty in files from before they were kept
    oracle: Mapping[str, float | None] = field(default_factory=dict)  # on target train rows, all from target labels
    class_acc: tuple[float | None, ...] = ()  # target test accuracy of each class, last weights
    cost: Mapping[str, float | None] = field(default_factory=dict)
    calibration: Mapping[str, float | None] = field(default_factory=dict)  # by names of `CALIBRATION`
    data_hashes: Mapping[str, str] = field(default_factory=dict)
    validation_labels: int = 0  # target labels that validators were shown
    written: float = 0.0  # when results.json was last modified, seconds since the epoch

    @property
    def task(self) -> str:
        """The pair of domains, e.g. usps→mnist."""
        return f"{self.source}→{self.target}"

    @cached_property
    def config(self) -> Mapping[str, Any] | None:
        """The resolved configuration beside the results; None where the run left none."""
        return read_config(self.folder)

    @cached_property
    def data_file(self) -> Mapping[str, Any] | None:
        """Classes, fitted state and notices of the data; None where the run left none."""
        return read_data_file(self.folder)


@dataclass(frozen=True)
class Repetitions:
    """Runs of one method with one set of settings: they differ in seed and task only."""

    method: str
    data: str
    settings: str  # the overrides in which this group differs from the others of its method, else its config hash
    target_labels: tuple[str, ...]
    runs: tuple[Result, ...]
    axes: Mapping[str, str] = field(default_factory=dict)  # settings that were named as axes, with their values

    @property
    def name(self) -> str:
        """The method, with the settings where there are several: `dann (weights.adversarial.high=0.1)`."""
        return f"{self.method} ({self.settings})" if self.settings else self.method


def find_results(paths: Sequence[str | Path]) -> list[Result]:
    """Read every results.json at or below `paths`, each once, in the order of their folders.

    Folders named `pretrain` are stages of a run, not runs, and are skipped. Raises FileNotFoundError on a
    path that doesn't exist, ValueError on a file of another form and where there are no results at all.
    """
    files = {file.resolve(): file for path in paths for file in _results_files(Path(path))}
    if not files:
        raise ValueError(
            f"no results.json at or below {', '.join(map(str, paths))}: each finished `da train` writes one"
        )
    return [read_result(file) for file in sorted(files.values())]


def complete_runs(runs: Path) -> list[dict[str, Any]]:
    """Read results.json of every run below `runs`, its folder under "folder"; ValueError if one is not complete."""
    found = []
    for result in find_results([runs]):
        if result.status != "complete":
            raise ValueError(f"{result.folder} is {result.status}: {result.error}")
        raw = json.loads((result.folder / "results.json").read_text(encoding="utf-8"))
        found.append({**raw, "folder": result.folder})
    return found


def _results_files(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path} doesn't exist: give a run's folder, or a folder with runs anywhere below it")
    if path.is_file():
        yield path
    for folder, below, files in os.walk(path):
        below[:] = [name for name in below if name != "pretrain"]
        if "results.json" in files:
            yield Path(folder, "results.json")


def read_result(file: Path) -> Result:
    """One results.json. Raises ValueError naming the file, what is wrong with it and what was expected."""
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} isn't valid JSON ({error}): expected an object of schema {SCHEMA!r}") from error
    found = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
    if found != SCHEMA:
        raise ValueError(f"{file} has schema {found!r}, expected {SCHEMA!r}")
    if raw.get("status") not in STATUSES:
        raise ValueError(f"{file} has status {raw.get('status')!r}, expected one of {list(STATUSES)}")
    needed = {"method", "data", "net", "source", "target", "seed", "config_hash"}
    if raw["status"] == "complete":
        needed |= {"test", "target_labels"}
    if missing := needed - raw.keys():
        raise ValueError(f"{file} lacks {sorted(missing)}, which {SCHEMA!r} has for a run that is {raw['status']}")
    try:
        return _result(file, raw)
    except (AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"{file} doesn't have the form of {SCHEMA!r}: {error}") from error


def _result(file: Path, raw: Mapping[str, Any]) -> Result:
    test, oracle, cost = raw.get("test") or {}, raw.get("oracle") or {}, numbers(raw.get("cost"))
    copied = ("status", "method", "data", "net", "source", "target", "seed", "config_hash")
    return Result(
        folder=file.parent,
        error=raw.get("error"),
        git_commit=raw.get("git_commit"),
        git_dirty=bool(raw.get("git_dirty")),
        selection_metric=raw.get("selection_metric"),
        target_labels=tuple(raw.get("target_labels") or ()),
        source_acc=numbers(test.get("source_acc")),
        target_acc=numbers({**(test.get("target_acc") or {}), "oracle": oracle.get("best_target_acc")}),
        validators=numbers(raw.get("validators")),
        selected_validators=numbers((raw.get("selected") or {}).get("validators")),
        seconds=cost.get("seconds"),
        network={name: cost[name] for name in NETWORK_COSTS if name in cost},
        overrides=read_overrides(file.parent),
        epochs=read_epochs(raw.get("epochs")),
        oracle=numbers(oracle),
        class_acc=tuple((test.get("target_class_acc") or {}).get("last") or ()),
        cost=cost,
        calibration={name: (test.get(f"target_{name}") or {}).get("last") for name in CALIBRATION},
        data_hashes=raw.get("data_hashes") or {},
        validation_labels=raw.get("validation_labels") or 0,
        written=file.stat().st_mtime,
        **{key: raw[key] for key in copied},
    )


def newest(results: Iterable[Result]) -> list[Result]:
    """`results` with each (method, data, net, task, seed, config hash) once: the one written last."""
    kept: dict[tuple[object, ...], Result] = {}
    for run in sorted(results, key=lambda run: (run.written, run.folder)):
        kept[run.method, run.data, run.net, run.task, run.seed, run.config_hash] = run
    return sorted(kept.values(), key=lambda run: (run.task, run.seed, run.folder))


def repetitions(results: Sequence[Result]) -> list[Repetitions]:
    """Complete runs in groups which may be averaged: source_only first, target_only last, others by alphabet.

    Runs with other overrides are another group, unless no task has both: a setting may belong to a task.
    Runs with equal overrides, but with two config hashes for one task and seed, are divided by their hash.
    """
    by_method = defaultdict(list)
    for run in newest(run for run in results if run.status == "complete"):
        by_method[run.method, run.data].append(run)
    groups = []
    for (method, data), runs in sorted(by_method.items(), key=lambda item: (method_order(item[0][0]), item[0][1])):
        divided = _divide(runs)
        groups += [
            Repetitions(method, data, label, part[0].target_labels, tuple(part))
            for label, part in zip(_labels(divided), divided, strict=True)
        ]
    return groups


def method_order(method: str) -> tuple[int, str]:
    """Key of the order of methods in a table: lower bound, methods by alphabet, upper bound."""
    return {"source_only": 0, "target_only": 2}.get(method, 1), method


def _divide(runs: list[Result]) -> list[list[Result]]:
    """The runs of one method on one data set, divided into groups that may be averaged."""
    divided = []
    for kind in _by(runs, lambda run: (run.net, run.target_labels)):
        parts = _by(kind, lambda run: tuple(sorted(run.overrides.items())))
        tasks = [{run.task for run in part} for part in parts]
        if sum(map(len, tasks)) == len(set().union(*tasks)):  # no task has two settings
            parts = [kind]
        for part in parts:
            repeated = len({(run.task, run.seed) for run in part}) < len(part)
            divided += _by(part, lambda run: run.config_hash) if repeated else [part]
    return divided


def _by(runs: list[Result], key: Callable[[Result], Hashable]) -> list[list[Result]]:
    parts = defaultdict(list)
    for run in runs:
        parts[key(run)].append(run)
    return list(parts.values())


def _labels(groups: list[list[Result]]) -> list[str]:
    """What tells each group from the others."""
    settings = [{"net": group[0].net, **group[0].overrides} for group in groups]
    differ = sorted(
        {key for one in settings for key in one if any(one.get(key) != other.get(key) for other in settings)}
    )
    labels = [", ".join(f"{key}={one[key]}" for key in differ if key in one) for one in settings]
    same_settings = [labels.count(label) > 1 for label in labels]
    return [
        ", ".join(filter(None, (label, f"config {group[0].config_hash}" if same else "")))
        for label, group, same in zip(labels, groups, same_settings, strict=True)
    ]
