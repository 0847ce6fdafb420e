"""How well validators follow the ORACLE accuracy, and what selecting by each would have given."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from da.report.accuracy import NOTHING
from da.report.figures import TEN
from da.report.plots import error, figure
from da.report.results import Repetitions, Result
from da.report.section import Section
from da.report.statistics import Interval, average
from da.report.tables import Sheet

FEWEST = 3
"""Checkpoints below which a rank correlation says nothing: of two, every score gives 1 or -1."""
ALL, RHO = "all methods", "\N{GREEK SMALL LETTER RHO}"
Correlation = Callable[[Sequence[float], Sequence[float]], float | None]


def spearman(scores: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties by their mean rank; None for fewer than 3, or where one side is constant."""
    if len(scores) < FEWEST or len(set(scores)) == 1 or len(set(accuracies)) == 1:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(scores, accuracies).statistic)


def weighted(scores: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Weighted Kendall tau, in which the best checkpoints count most; see `da.transfer.agreement.weighted_tau`."""
    from da.transfer.agreement import weighted_tau

    return weighted_tau(scores, accuracies) if len(set(scores)) > 1 and len(set(accuracies)) > 1 else None


def checkpoints(runs: Sequence[Result], validator: str) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return score and ORACLE accuracy of every validation that has both, by (data, task)."""
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for run in runs:
        pairs[run.data, run.task] += list(_scored(run, validator))
    return {task: found for task, found in pairs.items() if found}


def correlation(runs: Sequence[Result], validator: str, measure: Correlation) -> tuple[float | None, int, int]:
    """Return the mean over tasks of a correlation within each, the number of checkpoints and that of tasks.

    Within a task: the size of a score may depend on the data, and accuracies do.
    """
    found, n = [], 0
    for pairs in checkpoints(runs, validator).values():
        value = measure(*zip(*pairs, strict=True))
        if value is not None:
            found.append(value)
            n += len(pairs)
    return (fmean(found) if found else None), n, len(found)


def selected_by(rows: Sequence[Repetitions], validator: str) -> tuple[Interval, Interval] | None:
    """Return the ORACLE accuracy at the first epoch with the highest score, and its gap to the best epoch's.

    Means over methods and tasks, intervals over seeds. None where no run has the validator.
    """
    values: dict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    gaps: dict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    for row in rows:
        for run in row.runs:
            if pairs := list(_scored(run, validator)):
                chosen = max(pairs, key=lambda pair: pair[0])[1]
                best = max(one.target_acc for one in run.epochs if one.target_acc is not None)
                unit = (row.data, row.name, run.task)
                values[unit][run.seed] = chosen
                gaps[unit][run.seed] = best - chosen
    return (average(list(values.values())), average(list(gaps.values()))) if values else None


def _scored(run: Result, validator: str) -> Iterator[tuple[float, float]]:
    for epoch in run.epochs:
        score = epoch.validators.get(validator)
        if score is not None and math.isfinite(score) and epoch.target_acc is not None:
            yield score, epoch.target_acc


def quality_section(rows: Sequence[Repetitions]) -> Section:
    """Correlations by method and over all, and the accuracy at each validator's epoch; a sentence without `epochs`."""
    title = "Validators"
    rows = [row for row in rows if not row.target_labels]
    runs = [run for row in rows for run in row.runs]
    names = sorted({name for run in runs for epoch in run.epochs for name in epoch.validators})
    without = sum(not run.epochs for run in runs)
    lacking = [f"{without} of {len(runs)} runs have no `epochs` in results.json, and are not counted here."] * bool(
        without
    )
    if not names:
        return Section("validators", title, [*lacking, "No run has validations to compare validators by."])
    over = {ALL: runs, **_by_name(rows)}
    text = [
        "Each validation of each run is a checkpoint, with the score of every validator (without target labels, but "
        f"for those that are shown some) and the ORACLE accuracy on target train rows. {RHO} is Spearman's rank "
        "correlation of the two. τ is Kendall's, weighted so that the best count most: a pair weighs 1/(r + 1) + "
        "1/(s + 1) by the ranks from 0 of its two, and τ is the mean of that with ranks by score and that with ranks "
        "by accuracy (Vigna 2015). Both are computed within each task, over n checkpoints in all, and averaged over "
        "tasks. Checkpoints of one run are not independent, so there is no test.",
        "Selecting by a validator gives the accuracy at the first epoch with its highest score; the gap is to the best "
        "epoch of the same run, on the same rows. Means over methods and tasks ± 95 % interval over n seeds. Runs that "
        "used target labels are not counted.",
        *lacking,
    ]
    return Section("validators", title, text, [_figure(rows, names)], [_gaps(rows, names), *_correlations(over, names)])


def _by_name(rows: Sequence[Repetitions]) -> dict[str, list[Result]]:
    parts: dict[str, list[Result]] = defaultdict(list)
    for row in rows:
        parts[row.name] += row.runs
    return parts


def _correlations(over: Mapping[str, Sequence[Result]], names: Sequence[str]) -> Iterator[Sheet]:
    lines = []
    for part, runs in over.items():
        for name in names:
            rho, n, tasks = correlation(runs, name, spearman)
            tau = correlation(runs, name, weighted)[0]
            lines.append([part, name, _signed(rho), _signed(tau), str(n), str(tasks)])
    yield Sheet(
        "Correlation with the ORACLE accuracy",
        ["over", "validator", f"Spearman {RHO}", "weighted τ", "n", "tasks"],
        lines,
    )


def _gaps(rows: Sequence[Repetitions], names: Sequence[str]) -> Sheet:
    found = {name: selected_by(rows, name) for name in names}
    lines = [[name, one[0].text(), one[1].text()] for name, one in found.items() if one]
    columns = ["validator", "accuracy, target train rows [%]", "gap to ORACLE [pp]"]
    return Sheet("Selected by each validator", columns, lines)


def _figure(rows: Sequence[Repetitions], names: Sequence[str]) -> dict[str, object]:
    data = []
    known = {name: found for name in names if (found := selected_by(rows, name))}
    best = sorted(known, key=lambda name: known[name][1].mean)
    for k, name in enumerate(best):
        gap = known[name][1]
        mark = {"type": "bar", "x": [name], "y": [100 * gap.mean], "error_y": error([gap]), "marker": {"color": TEN[0]}}
        data.append(
            mark | {"text": gap.text(), "textposition": "none", "hovertemplate": "%{text}<extra></extra>", "width": 0.5}
        )
        data[k]["showlegend"] = False
    below = {"showgrid": False}
    return figure("Accuracy lost to the ORACLE epoch by selecting with each validator [pp]", data, 340, xaxis=below)


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.2f}"
