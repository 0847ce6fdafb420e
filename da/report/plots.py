"""Plotly figures as plain data: one style for all, and the shapes that several sections draw."""

from collections.abc import Mapping, Sequence
from typing import Any

from da.report.figures import TEN
from da.report.statistics import Interval

INK, LINE, ACCENT = "#1f2933", "#e4e7eb", "#2b6cb0"
MANY = 20
"""Rows above which a legend is longer than its figure."""
MINUS = "\N{MINUS SIGN}"
GOOD, BAD, NEUTRAL = "#2f7d4f", "#b42318", "#7b8794"


def figure(title: str, data: Sequence[Mapping[str, Any]], height: int = 380, **layout: Any) -> dict[str, Any]:
    """Return a figure in the style of the report; `layout` is merged into it, two levels deep."""
    axis = {"gridcolor": LINE, "zerolinecolor": "#9aa5b1", "linecolor": LINE, "automargin": True, "ticks": ""}
    style: dict[str, Any] = {
        "title": {"text": title, "x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 14, "color": INK}},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 12, "color": "#3e4c59"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 46, "b": 28},
        "hovermode": "closest",
        "xaxis": axis,
        "yaxis": axis,
        "legend": {"x": 1.01, "y": 1, "xanchor": "left", "yanchor": "top"},
    }
    for key, value in layout.items():
        style[key] = {**style.get(key, {}), **value} if isinstance(value, Mapping) else value
    return {"data": list(data), "layout": style}


def interval_plot(title: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, Interval]]) -> dict[str, Any]:
    """Return means with error bars, a group of points for each column and a colour for each row, in percent."""
    wide = 0.7 / max(1, len(rows))
    data = []
    for k, (name, found) in enumerate(rows.items()):
        known = [(i, column) for i, column in enumerate(columns) if column in found]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [i + (k - (len(rows) - 1) / 2) * wide for i, _ in known],
                "y": [100 * found[column].mean for _, column in known],
                "error_y": error([found[column] for _, column in known]),
                "text": [f"{column}<br>{found[column].text()}" for _, column in known],
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
                "marker": {
                    "color": TEN[k % len(TEN)],
                    "size": 8,
                    "symbol": ["circle", "diamond", "square"][k // 10 % 3],
                },
            }
        )
    ticks = {"tickvals": list(range(len(columns))), "ticktext": list(columns), "showgrid": False}
    lines = [
        {"type": "line", "x0": i + 0.5, "x1": i + 0.5, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": LINE}}
        for i in range(len(columns) - 1)
    ]
    span = {"range": [-0.5, len(columns) - 0.5], "zeroline": False}
    return figure(title, data, 400, xaxis={**ticks, **span}, yaxis={"zeroline": False}, shapes=lines, showlegend=True)


def error(intervals: Sequence[Interval], scale: float = 100.0) -> dict[str, Any]:
    """Return the error bars of intervals; none where there is no interval."""
    widths = [None if one.half_width is None else scale * one.half_width for one in intervals]
    return {"type": "data", "array": widths, "thickness": 1.3, "width": 4}


def forest_plot(
    title: str, names: Sequence[str], values: Sequence[Interval], colours: Sequence[str], form: str = "+.1f"
) -> dict[str, Any]:
    """Return a name and a bar for each interval, from top to bottom, in percent; a signed `form` shows 0 too."""
    data = {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * value.mean for value in values],
        "y": list(range(len(names))),
        "text": [value.text(form=form) for value in values],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": list(colours), "size": 9},
    }
    bars = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [100 * (value.mean - value.half_width), 100 * (value.mean + value.half_width)],
            "y": [i, i],
            "line": {"color": colours[i], "width": 2},
            "hoverinfo": "skip",
        }
        for i, value in enumerate(values)
        if value.half_width is not None
    ]
    ticks = {"tickvals": list(range(len(names))), "ticktext": list(names), "range": [len(names) - 0.5, -0.5]}
    axis = {"zeroline": False, "showgrid": False, **ticks}
    ends = [100 * (value.mean + sign * (value.half_width or 0)) for value in values for sign in (-1, 1)]
    ends += [0.0] if form.startswith("+") else []
    margin = 0.04 * (max(ends) - min(ends)) or 1.0
    span = {"zeroline": form.startswith("+"), "range": [min(ends) - margin, max(ends) + margin]}
    height = 90 + 24 * len(names)
    return figure(title, [*bars, data], height, yaxis=axis, xaxis=span, showlegend=False)


def heat_map(
    title: str, columns: Sequence[str], names: Sequence[str], values: Sequence[Sequence[float | None]]
) -> dict[str, Any]:
    """Return differences in percentage points as colours: red below 0, white at 0, blue above."""
    scaled = [[None if value is None else round(100 * value, 1) + 0.0 for value in row] for row in values]
    few = len(columns) <= 16
    data = {
        "type": "heatmap",
        "x": list(range(len(columns))),
        "y": list(range(len(names))),
        "z": scaled,
        "zmid": 0,
        "colorscale": [[0, "#b2352f"], [0.5, "#ffffff"], [1, "#2b6cb0"]],
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "title": {"text": "pp"}},
        "texttemplate": "%{z:+.0f}" if few else "",
        "text": [[f"{name}, {column}" for column in columns] for name in names],
        "hovertemplate": "%{text}: %{z:+.1f}<extra></extra>",
    }
    below = {"tickvals": list(range(len(columns))), "ticktext": [_cut(name) for name in columns], "showgrid": False}
    beside = {"tickvals": list(range(len(names))), "ticktext": list(names), "autorange": "reversed", "showgrid": False}
    plain = {"zeroline": False}
    return figure(title, [data], 130 + 26 * len(names), xaxis=below | plain, yaxis=beside | plain)


def _cut(name: str, length: int = 16) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
