"""Ranks of methods over tasks."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from da.report.against import p_text
from da.report.comparisons import FEWEST_TASKS, Ranks, rank_test
from da.report.plots import ACCENT, figure
from da.report.results import Repetitions
from da.report.section import Section
from da.report.tables import Sheet, seed_values

FEW = 10  # tasks below which chi2 is a coarse approximation: Demsar, JMLR 2006, sec. 3.2.2


def ranking_section(rows: Sequence[Repetitions]) -> Section:
    """Mean ranks over all tasks of all data sets, with Friedman and Nemenyi; or a sentence that says why not."""
    title = "Ranks over tasks"
    accuracies, left = _complete(rows)
    tasks = len(next(iter(accuracies.values()), {}))
    if len(accuracies) < 2 or tasks < FEWEST_TASKS:
        said = (
            f"No ranks: they need at least 2 methods that have the same {FEWEST_TASKS} tasks or more, and used no "
            f"target labels; there are {len(accuracies)} methods on {tasks} tasks. With fewer, no ranks could be told "
            "from chance."
        )
        return Section("ranks", title, [said, *left])
    ranks = rank_test(accuracies)
    text = [
        f"Rank 1 is the best mean accuracy over seeds of a task, after the last epoch; means over {ranks.tasks} tasks. "
        f"Friedman's test of equal ranks: χ² = {ranks.statistic:.2f} with {len(accuracies) - 1} degrees of freedom, "
        f"p: {p_text(ranks.p)}. Nemenyi's critical difference at 5 %: {ranks.critical_difference:.2f}; two methods "
        "differ if their bars, half of it to each side, do not overlap.",
        "Tasks that share a domain are not independent, so p is rather too small.",
    ]
    if ranks.tasks < FEW:
        text.append(f"Below {FEW} tasks χ² is a coarse approximation.")
    if ranks.p >= 0.05:
        text.append("Equal ranks are not rejected: the bars are shown for completeness, not as findings.")
    best = sorted(ranks.mean, key=lambda name: ranks.mean[name])
    sheet = Sheet(
        title, ["method", "mean rank", "tasks"], [[m, f"{ranks.mean[m]:.2f}", str(ranks.tasks)] for m in best]
    )
    return Section("ranks", title, [*text, *left], [_figure(ranks, best)], [sheet])


def _complete(rows: Sequence[Repetitions]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return mean accuracies by method and task, of the methods that have all tasks; and what was left out."""
    found: dict[str, dict[str, float]] = {}
    for row in (row for row in rows if not row.target_labels):
        for task, by_seed in seed_values(row, "last").items():
            found.setdefault(row.name, {})[f"{row.data} {task}"] = fmean(by_seed.values())
    most = max(map(len, found.values()), default=0)
    tasks = next((by_task.keys() for by_task in found.values() if len(by_task) == most), ())
    kept = {name: by_task for name, by_task in found.items() if by_task.keys() == tasks}
    labelled = sorted({row.name for row in rows if row.target_labels})
    said = [f"Left out, as they used target labels: {', '.join(labelled)}."] if labelled else []
    if lacking := sorted(found.keys() - kept.keys()):
        said.append(f"Left out, as they don't have the same {most} tasks: {', '.join(lacking)}.")
    return kept, said


def _figure(ranks: Ranks, names: Sequence[str]) -> Mapping[str, object]:
    half = ranks.critical_difference / 2
    data = {
        "type": "scatter",
        "mode": "markers",
        "x": [ranks.mean[name] for name in names],
        "y": list(range(len(names))),
        "error_x": {"type": "constant", "value": half, "thickness": 2, "width": 5},
        "hovertemplate": "%{x:.2f}<extra></extra>",
        "marker": {"size": 10, "color": ACCENT},
    }
    beside = {"tickvals": list(range(len(names))), "ticktext": list(names), "range": [len(names) - 0.5, -0.5]}
    plain = {"zeroline": False}
    below = plain | {"title": {"text": "mean rank, 1 is best"}}
    title = f"Mean rank over {ranks.tasks} tasks ± half the critical difference"
    return figure(title, [data], 130 + 28 * len(names), xaxis=below, yaxis=beside | plain | {"showgrid": False})
