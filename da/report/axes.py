"""Which runs may stand in one report: their settings compared, and rows by the settings that were named as axes."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from da.report.results import Repetitions, Result, method_order, newest
from da.settings import FIRST_VALIDATORS, NOT_IDENTITY, PLACES

OWN = ("method", "term", "discrepancy", "pretrain", "net.head")
"""What the yaml of a method sets: it may differ between two methods, not between two runs of one."""
_IGNORED = (*NOT_IDENTITY, "seed", "data.seed", "data.source", "data.target", *(f"data.{key}" for key in PLACES))
_SHOWN = 6  # keys of an error, which is one line
Settings = Mapping[str, str]


def rows_by_axes(results: Sequence[Result], axes: Sequence[str] = (), by_settings: bool = False) -> list[Repetitions]:
    """Complete runs in rows that may be averaged: method, data set and the values of the axes are equal in each.

    Method, task, seed and what a method's own yaml sets are axes always. Any other setting that differs between two
    runs of one task must lie at or below one of `axes`, or `by_settings` be set, which makes an axis of each; what
    differs between tasks only belongs to the task. Settings are read from config.yaml, or from the overrides where a
    run has none. Raises ValueError naming the keys, their values and a folder of each otherwise, and where two runs
    can't be told apart.
    """
    runs = newest(run for run in results if run.status == "complete")
    if not runs:
        raise ValueError(_none_complete(results))
    from_config = all(run.config is not None for run in runs)
    settings = {run.folder: dict(_settings(run, from_config)) for run in runs}
    differ = sorted({key for cell in _cells(runs) for key in _differing(cell, settings)})
    if refused := [key for key in differ if not by_settings and not any(_below(key, axis) for axis in axes)]:
        raise ValueError(_refusal(refused, runs, settings))
    groups = defaultdict(list)
    for run in runs:
        values = tuple((key, settings[run.folder][key]) for key in differ if key in settings[run.folder])
        groups[run.method, run.data, values].append(run)
    order = sorted(groups, key=lambda group: (method_order(group[0]), *group[1:]))
    rows = []
    for method, data, values in order:
        part = groups[method, data, values]
        _check_distinct(part)
        telling = _telling(differ, [dict(v) for m, d, v in order if (m, d) == (method, data)])
        label = ", ".join(f"{key}={value}" for key, value in values if key in telling)
        rows.append(Repetitions(method, data, label, part[0].target_labels, tuple(part), dict(values)))
    return rows


def shared_axes(row: Repetitions) -> dict[str, str]:
    """Return the axes of a row that are not its method's own: what a row it is compared with must share."""
    return {key: value for key, value in row.axes.items() if not _own(key)}


def _none_complete(results: Sequence[Result]) -> str:
    failed = "; ".join(f"{run.folder}: {run.status} {run.error or ''}".strip() for run in results[:_SHOWN])
    return f"none of {len(results)} runs is complete ({failed}): there is nothing to report"


def _settings(run: Result, from_config: bool) -> Iterator[tuple[str, str]]:
    yield "net", run.net
    if not from_config:
        yield from run.overrides.items()
        return
    validators = FIRST_VALIDATORS | {run.selection_metric}
    for key, value in _flat(run.config or {}):
        unused = key.startswith("validators.") and key.split(".")[1] not in validators
        if not unused and not any(_below(key, ignored) for ignored in _IGNORED):
            # the run of the same seed that this one starts from is not another setting
            yield key, re.sub(rf"seed{run.seed}-[0-9a-f]{{12}}", "seed*", str(value))


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", value


def _below(key: str, axis: str) -> bool:
    return key == axis or key.startswith(f"{axis}.")


def _own(key: str) -> bool:
    return any(_below(key, own) for own in OWN)


def _cells(runs: Sequence[Result]) -> list[list[Result]]:
    cells = defaultdict(list)
    for run in runs:
        cells[run.data, run.task].append(run)
    return list(cells.values())


def _differing(cell: Sequence[Result], settings: Mapping[Path, Settings]) -> set[str]:
    """Keys that differ between runs of one task: a method's own within the method, all others anywhere."""
    by_method = defaultdict(list)
    for run in cell:
        by_method[run.method].append(settings[run.folder])
    everywhere = [one for part in by_method.values() for one in part]
    keys = {key for key in _unequal(everywhere) if not _own(key)}
    keys |= {key for part in by_method.values() for key in _unequal(part)}
    if "net" in keys:  # its options follow from it
        keys = {key for key in keys if not key.startswith("net.")}
    return keys


def _unequal(settings: Sequence[Settings]) -> set[str]:
    keys = {key for one in settings for key in one}
    return {key for key in keys if len({one.get(key) for one in settings}) > 1}


def _telling(differ: Collection[str], values: Sequence[Settings]) -> set[str]:
    return _unequal(values) & set(differ)


def _refusal(keys: Sequence[str], runs: Sequence[Result], settings: Mapping[Path, Settings]) -> str:
    said = []
    for key in keys[:_SHOWN]:
        folders: dict[str, list[Result]] = {}
        for run in _telling_apart(key, runs, settings):
            folders.setdefault(settings[run.folder].get(key, "not set"), []).append(run)
        values = ("; ".join(f"{value}: {part[0].folder}" + _more(len(part) - 1) for value, part in folders.items()),)
        said.append(f"{key} ({values[0]})")
    rest = f", and {len(keys) - _SHOWN} more keys" if len(keys) > _SHOWN else ""
    return (
        f"the runs differ in {', '.join(said)}{rest}: give the folders of one setting, name the keys as axes "
        f"({' '.join(f'--axis {key}' for key in keys[:_SHOWN])}), or all of them by --by-settings"
    )


def _telling_apart(key: str, runs: Sequence[Result], settings: Mapping[Path, Settings]) -> Sequence[Result]:
    """Return the runs that an error about a key names: of a method's own, those of methods within which it differs."""
    if not _own(key):
        return runs
    values = defaultdict(set)
    for run in runs:
        values[run.method].add(settings[run.folder].get(key))
    return [run for run in runs if len(values[run.method]) > 1]


def _more(n: int) -> str:
    return f" and {n} more" if n else ""


def _check_distinct(row: Sequence[Result]) -> None:
    seen: dict[tuple[str, int], Result] = {}
    for run in row:
        other = seen.setdefault((run.task, run.seed), run)
        if other is not run:
            raise ValueError(
                f"{other.folder} and {run.folder} are both {run.method} on {run.task} with seed {run.seed}, of "
                f"config_hash {other.config_hash} and {run.config_hash}, and their settings don't say how they "
                "differ: leave one of them out"
            )
