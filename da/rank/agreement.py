"""Candidates beside what training made of them: which finished runs are theirs, and how well a score foretold it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from da.report.results import Result, newest
from da.report.statistics import Interval, interval

if TYPE_CHECKING:
    from da.rank.candidates import Candidate

Key = tuple[str, str, str, str]


def true_accuracies(
    candidates: Sequence["Candidate"], results: Sequence[Result], method: str | None = None
) -> tuple[dict[str, Interval], str]:
    """Return the mean target accuracy of each candidate's runs over their seeds, by its label, and the runs' method.

    A run is a candidate's if net, data, source and target are the same. Accuracies are those of the last epoch, on the
    target's test rows. A candidate without runs is left out.

    Raises ValueError for a method that no run has, for runs of several methods if none is named, for candidates that
    net, data, source and target do not tell apart, for runs that differ in more than their seed, and if no run is a
    candidate's.
    """
    runs = newest(run for run in results if run.status == "complete" and run.target_acc.get("last") is not None)
    method = _method(runs, method)
    by_key: dict[Key, dict[int, float]] = defaultdict(dict)
    for run in runs:
        if run.method != method:
            continue
        seeds = by_key[run.net, run.data, run.source, run.target]
        if run.seed in seeds:
            raise ValueError(
                f"there are several runs of {method} from {run.source} with net={run.net} and seed={run.seed}, such as "
                f"{run.folder}: their settings differ; give the folders of one setting"
            )
        seeds[run.seed] = float(run.target_acc["last"] or 0.0)
    keys = {candidate.label: _key(candidate) for candidate in candidates}
    if len(set(keys.values())) < len(keys):
        raise ValueError("--runs tells candidates apart by net, data, source and target only; some of these share all")
    found = {label: interval(list(by_key[key].values())) for label, key in keys.items() if key in by_key}
    if not found:
        wanted, there = _shown(keys.values()), _shown(by_key)
        raise ValueError(f"no run is of a candidate: the candidates are {wanted}, the runs of {method} {there}")
    return found, method


def _method(runs: Sequence[Result], method: str | None) -> str:
    methods = sorted({run.method for run in runs})
    if not methods:
        raise ValueError("no run of --runs is complete and has a target accuracy")
    if method is None and len(methods) > 1:
        raise ValueError(f"the runs are of several methods: choose one by --method: {', '.join(methods)}")
    if method is not None and method not in methods:
        raise ValueError(f"--method {method}: the runs are of {', '.join(methods)}")
    return method or methods[0]


def _key(candidate: "Candidate") -> Key:
    return candidate.net, candidate.data, candidate.source, candidate.target


def _shown(keys: Iterable[Key]) -> str:
    shown = sorted({f"{net} {data} {source}→{target}" for net, data, source, target in keys})
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
