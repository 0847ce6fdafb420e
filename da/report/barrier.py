"""The figure of a mix of two networks along the line between them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from da.report.figures import BLUE, DPI, ORANGE, Floats, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {
    "source": ("source validation rows", BLUE, "-"),
    "labeled": ("labelled target rows", "#117733", "-."),
    "oracle_target": ("oracle: target test rows", ORANGE, "--"),
}
"""By the beginning of a column: label, colour and line."""


def barrier_figure(
    points: Sequence[Mapping[str, float | int | None]], path: Path, networks: tuple[str, str], chosen: float, by: str
) -> None:
    """Accuracy, loss and infomax over alpha, with the straight line between the ends of each loss.

    `points` are the rows of a sweep in order of alpha, `networks` the names of the first (alpha 1) and the second,
    `chosen` the alpha that was picked `by` something. Columns without a value are left out.
    """
    alpha = _column(points, "alpha")
    figure = new_figure(8.2, 7.4)
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    for prefix, (label, colour, line) in STYLES.items():
        for axes, kind, scale in ((panels[0], "acc", 100.0), (panels[1], "loss", 1.0)):
            values = scale * _column(points, f"{prefix}_{kind}")
            if np.isfinite(values).all():
                _draw(axes, alpha, values, label, colour, line)
                if kind == "loss":
                    axes.plot(alpha[[0, -1]], values[[0, -1]], ":", color=colour, linewidth=1.1)
    _draw(panels[2], alpha, _column(points, "infomax"), "target validation rows", "black", "-")
    panels[1].plot([], [], ":", color="grey", label="line between the ends")
    for axes, label in zip(panels, ("accuracy [%]", "cross-entropy [nats]", "infomax [nats]"), strict=True):
        axes.axvline(chosen, color="grey", linewidth=0.9)
        axes.set_ylabel(label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    panels[0].set_title(f"alpha = {chosen:g}, by {by}", loc="left", fontsize=10)
    panels[2].set_xlabel(f"alpha      0: {networks[1]}      1: {networks[0]}")
    figure.align_ylabels()
    figure.savefig(path, dpi=DPI)


def _draw(axes: "Axes", x: Floats, y: Floats, label: str, colour: str, line: str) -> None:
    axes.plot(x, y, line, color=colour, linewidth=1.4, marker="o", markersize=3.5, label=label)


def _column(points: Sequence[Mapping[str, float | int | None]], name: str) -> Floats:
    return np.array([point.get(name) for point in points], dtype=np.float64)
