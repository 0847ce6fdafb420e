"""Accuracy against what it cost."""

from collections.abc import Sequence
from statistics import fmean

from da.report.accuracy import NOTHING, data_sets, tasks_of
from da.report.figures import TEN
from da.report.plots import MANY, error, figure
from da.report.results import Repetitions
from da.report.section import Section
from da.report.statistics import Interval, average, interval
from da.report.tables import Sheet, marked, seed_values

SHOWN = {
    "seconds": "seconds",
    "cpu_seconds": "processor seconds",
    "peak_memory_mib": "peak memory [MiB]",
    "energy_wh": "energy [Wh]",
}


def cost_section(rows: Sequence[Repetitions]) -> Section:
    """Seconds, peak memory and, where it was measured, energy; beside the accuracy after the last epoch."""
    title = "Accuracy against cost"
    runs = [run for row in rows for run in row.runs]
    known = [name for name in SHOWN if any(run.cost.get(name) is not None for run in runs)]
    if not known:
        return Section("cost", title, ["No run has a cost in results.json."])
    text = [
        "Cost of one run: building, source stage and training, without test and figures; means over all runs of a row, "
        "tasks and seeds alike. Seconds compare only where the runs had the same machine to themselves. Peak memory is "
        "that of the CUDA device if one was used, else of the process.",
    ]
    if "energy_wh" not in known:
        text.append("Energy was not measured.")
    lines = []
    for row in rows:
        costs = [_mean(row, name) for name in known]
        accuracy = _accuracy(row)
        shown = NOTHING if accuracy is None else accuracy.text()
        lines.append(
            [row.data, marked(row), *(NOTHING if c is None else f"{c:,.4g}" for c in costs), shown, str(len(row.runs))]
        )
    columns = ["data", "method", *(SHOWN[name] for name in known), "accuracy [%]", "runs"]
    figures = [_figure(rows, data) for data in data_sets(rows)] if "seconds" in known else []
    return Section("cost", title, text, figures, [Sheet(title, columns, lines)])


def _mean(row: Repetitions, name: str) -> float | None:
    known = [value for run in row.runs if (value := run.cost.get(name)) is not None]
    return fmean(known) if known else None


def _accuracy(row: Repetitions) -> Interval | None:
    """Return that over all tasks of a row, by seed."""
    values = list(seed_values(row, "last").values())
    if not values:
        return None
    return average(values) if len(values) > 1 else interval(list(values[0].values()))


def _figure(rows: Sequence[Repetitions], data: str) -> dict[str, object]:
    points, tasks, seconds = [], tasks_of(rows, data), []
    # a row that lacks tasks has an average of its own, which compares with no other
    complete = [row for row in rows if row.data == data and len({run.task for run in row.runs}) == len(tasks)]
    for k, row in enumerate(complete):
        cost, accuracy = _mean(row, "seconds"), _accuracy(row)
        if cost is None or accuracy is None:
            continue
        seconds.append(cost)
        points.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": marked(row),
                "x": [cost],
                "y": [100 * accuracy.mean],
                "error_y": error([accuracy]),
                "text": [accuracy.text()],
                "hovertemplate": "%{x:.1f} s: %{text}<extra>%{fullData.name}</extra>",
                "marker": {"size": 10, "color": TEN[k % len(TEN)]},
            }
        )
    spread = bool(seconds) and min(seconds) > 0 and max(seconds) > 10 * min(seconds)
    below = {"title": {"text": "seconds a run"}, "type": "log" if spread else "linear", "zeroline": False}
    title = f"{data}: target test accuracy, mean of {len(tasks)} task{'s' * (len(tasks) != 1)} [%]"
    return figure(title, points, xaxis=below, yaxis={"zeroline": False}, showlegend=len(points) <= MANY)
