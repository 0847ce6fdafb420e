"""The runs of a suite: for each row, task and seed the options, the folder and the hash of the configuration."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from da.benchmark.suite import Suite
from da.compose import compose_config
from da.record import recorded
from da.settings import config_hash

NAMED_PLACE = Path("runs")
"""Where checkpoints that rows start from are said to lie when a run is identified: the real place changes nothing."""


class Key(NamedTuple):
    """Which run of a suite."""

    method: str
    task: str  # "" for a row that is trained once
    seed: int

    def __str__(self) -> str:
        return " ".join(filter(None, (self.method, self.task, f"seed {self.seed}")))


@dataclass(frozen=True)
class Run:
    """One run: `words` for `da train`, its folder, and the runs that have to be there before.

    `config_hash` is what results.json will say; `identity` is the same for every place of the runs, and stands in
    results.csv.
    """

    key: Key
    words: tuple[str, ...]
    folder: Path
    config_hash: str
    identity: str
    needs: tuple[Key, ...]

    def status(self) -> str | None:
        """What the run's folder says of this very config: complete, failed, running (or killed), None for nothing."""
        status = recorded(self.folder, self.config_hash).get("status")
        return None if status is None else str(status)


def plan(
    suite: Suite,
    runs: Path,
    methods: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> list[Run]:
    """Every run of the suite, or of some rows, tasks and seeds and what those start from; a run after what it needs.

    Raises ValueError for a row or task that there is not, and for options that `da train` would not read.
    """
    _check(methods, suite.methods, "row")
    _check(tasks, suite.tasks, "task")
    wanted = [
        Key(method, task, seed)
        for task in ("", *suite.tasks)  # those of one task after one another: they read the same files
        for method, row in suite.methods.items()
        for seed in seeds or suite.seeds
        if row.once == (task == "")
        if (not methods or method in methods) and (not tasks or not task or task in tasks)
    ]
    composer = _Composer(suite)
    found: dict[Key, Run] = {}
    for key in wanted:
        _add(key, suite, runs, composer, found, ())
    return list(found.values())


def _add(
    key: Key, suite: Suite, runs: Path, composer: "_Composer", found: dict[Key, Run], above: tuple[Key, ...]
) -> None:
    if key in found:
        return
    if key in above:
        raise ValueError(f"row {key.method} starts from itself")
    others = {other: Key(other, "" if row.once else key.task, key.seed) for other, row in suite.methods.items()}
    needs = tuple(other for name, other in others.items() if _refers(suite.methods[key.method].options, name))
    for other in needs:
        _add(other, suite, runs, composer, found, (*above, key))
    words = _words(key, suite, _places(others, suite, runs))
    hashed = composer.hashed(words)
    named = _words(key, suite, _places(others, suite, NAMED_PLACE)) if needs else words
    identity = composer.hashed(named) if named != words else hashed
    found[key] = Run(key, words, folder_of(key, suite, runs), hashed, identity, needs)


def folder_of(key: Key, suite: Suite, runs: Path) -> Path:
    """Folder of a run: ROW/TASK-seedN below that of the suite, without the task if there is one only."""
    task = f"{key.task}-" if key.task and len(suite.tasks) > 1 else ""
    return runs / suite.name / key.method / f"{task}seed{key.seed}"


def _refers(options: Sequence[str], name: str) -> bool:
    return any(f"{{{name}}}" in word for word in options)


def _places(others: Mapping[str, Key], suite: Suite, runs: Path) -> dict[str, str]:
    return {name: (folder_of(key, suite, runs) / "checkpoints/last.ckpt").as_posix() for name, key in others.items()}


def _words(key: Key, suite: Suite, places: Mapping[str, str]) -> tuple[str, ...]:
    row = suite.methods[key.method]
    options = list(row.options)
    for name, place in places.items():
        options = [word.replace(f"{{{name}}}", place) for word in options]
    return (*suite.options, *(suite.tasks[key.task] if key.task else ()), *options, f"seed={key.seed}")


class _Composer:
    """Hashes of many configurations that differ in seed and domains only: those are set, not composed anew."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.known: dict[tuple[str, ...], DictConfig] = {}

    def hashed(self, words: Sequence[str]) -> str:
        """Return the `config_hash` of the options. ValueError for options that there are not."""
        own = {"seed": words[-1].partition("=")[2]}
        for word in words[:-1]:
            key, _, value = word.partition("=")
            # What Hydra would read as a number, a list or null is composed.
            if key in ("data.source", "data.target") and re.fullmatch(r"(?!(true|false|null)$)[A-Za-z_][\w/]*", value):
                own[key.removeprefix("data.")] = value
        rest = tuple(word for word in words[:-1] if word.partition("=")[0].removeprefix("data.") not in own)
        if rest not in self.known:
            self.known[rest] = self._composed(words)
        cfg = self.known[rest]
        cfg.seed = int(own.pop("seed"))
        for name, value in own.items():
            cfg.data[name] = value
        return config_hash(cfg)

    def _composed(self, words: Sequence[str]) -> DictConfig:
        try:
            cfg = compose_config(words)
        except ValueError as error:
            raise ValueError(f"{self.suite.name}, {' '.join(words)}: {error}") from error
        return cfg


def check_data(suite: Suite) -> None:
    """Raise ValueError if the files of the suite's data can be nowhere."""
    words = (*suite.options, *next(iter(suite.tasks.values())))
    data = compose_config(words).data
    if "fetch" in data and not data.root and not os.environ.get("DA_DATA_ROOT"):
        raise ValueError(
            f"{suite.name} reads files of yours: set the environment variable DA_DATA_ROOT to the folder of the data. "
            f"{' '.join(str(data.fetch).split())}"
        )


def _check(given: Sequence[str], known: Mapping[str, object], kind: str) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"there is no {kind} {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
