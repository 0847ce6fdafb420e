"""Accuracy over a weight λ, where runs differ in nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

from da.report.figures import TEN
from da.report.plots import figure
from da.report.results import Repetitions
from da.report.section import Section
from da.report.statistics import Interval, interval
from da.report.tables import Sheet, seed_values

WEIGHTS = "method.weights."


def lambda_section(rows: Sequence[Repetitions]) -> Section:
    """Curves with bands over one `method.weights.*` value; a sentence where no runs differ so."""
    title = "Weights λ"
    curves = lambda_curves(rows)
    if not curves:
        said = f"No runs of one method differ in exactly one value of {WEIGHTS}*: there is no curve over λ."
        return Section("lambda", title, [said])
    figures, sheets = [], []
    for (data, method, key), by_task in curves.items():
        name = f"{data}, {method}: {key.removeprefix(WEIGHTS)}"
        figures.append(_figure(name, by_task))
        values = sorted({value for curve in by_task.values() for value in curve})
        lines = [[task, *(c[v].text() if v in c else "-" for v in values)] for task, c in by_task.items()]
        sheets.append(Sheet(name, ["task", *(f"{value:g}" for value in values)], lines))
    text = [
        "Target test accuracy in percent after the last epoch, over the value of one weight, all else equal: mean ± "
        "95 % interval over n seeds, as a band. A value picked from this curve is picked by target labels: an ORACLE."
    ]
    return Section("lambda", title, text, figures, sheets)


Curves = dict[tuple[str, str, str], dict[str, dict[float, Interval]]]


def lambda_curves(rows: Sequence[Repetitions]) -> Curves:
    """Return intervals by (data, method, key), task and value, of rows that differ in that one weight only."""
    families: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], dict[float, Repetitions]] = {}
    for row in rows:
        for key, value in row.axes.items():
            number = _number(value)
            if key.startswith(WEIGHTS) and number is not None:
                others = tuple(item for item in sorted(row.axes.items()) if item[0] != key)
                families.setdefault((row.data, row.method, key, others), {})[number] = row
    curves: Curves = {}
    for (data, method, key, others), by_value in families.items():
        if len(by_value) < 2:
            continue
        setting = ", ".join(f"{k}={v}" for k, v in others)
        by_task = curves.setdefault((data, f"{method} ({setting})" if setting else method, key), {})
        for number, row in sorted(by_value.items()):
            for task, by_seed in seed_values(row, "last").items():
                by_task.setdefault(task, {})[number] = interval(list(by_seed.values()))
    return curves


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _figure(name: str, by_task: Mapping[str, Mapping[float, Interval]]) -> dict[str, object]:
    values = sorted({value for curve in by_task.values() for value in curve})
    data = [
        trace for k, (task, curve) in enumerate(by_task.items()) for trace in _traces(task, curve, TEN[k % len(TEN)])
    ]
    # by order and not to scale: grids of λ hold 0 and powers
    axis = {"type": "category", "categoryorder": "array", "categoryarray": [f"{value:g}" for value in values]}
    below = axis | {"title": {"text": "λ, in order and not to scale"}, "showgrid": False}
    return figure(f"{name}: target test accuracy [%]", data, xaxis=below, yaxis={"zeroline": False}, showlegend=True)


def _traces(task: str, curve: Mapping[float, Interval], colour: str) -> list[dict[str, Any]]:
    """Return the band of a curve and its line."""
    x = [f"{value:g}" for value in curve]
    mean = [100 * one.mean for one in curve.values()]
    half = [100 * (one.half_width or 0.0) for one in curve.values()]
    upper, lower = ([m + sign * h for m, h in zip(mean, half, strict=True)] for sign in (1, -1))
    band: dict[str, Any] = {"type": "scatter", "x": [*x, *x[::-1]], "y": [*upper, *lower[::-1]], "mode": "lines"}
    band |= {"fill": "toself", "fillcolor": colour, "opacity": 0.18, "line": {"width": 0}}
    band |= {"hoverinfo": "skip", "showlegend": False}
    line: dict[str, Any] = {"type": "scatter", "mode": "lines+markers", "x": x, "y": mean, "name": task}
    line |= {"line": {"color": colour}, "text": [one.text() for one in curve.values()]}
    return [band, line | {"hovertemplate": "λ = %{x}: %{text}<extra></extra>"}]
