"""The curves of one run over its batches."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from da.record import VALIDATOR
from da.report.figures import DPI, TEN, Floats, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Curve(NamedTuple):
    steps: Floats
    values: Floats
    lost: int  # values that weren't finite


def curves_figure(metrics_csv: Path, path: Path) -> None:
    """The curves of a CSVLogger file over batches: losses, weights, gradients, accuracies, validators.

    Each validator is scaled to [0, 1] by its own minimum and maximum, which stand in the legend. Panels without a
    column are left out. Values that aren't finite are left out and counted in the legend. Raises ValueError on a
    file without the column `step`.
    """
    curves = _read_curves(metrics_csv)
    others = ("train/weight/", "train/reversal/", "train/lr")
    own = [key for key in curves if key.startswith("train/") and not key.startswith(others)]
    measures = [key for key in own if key.count("/") == 2 and not key.startswith("train/loss/")]
    losses = [key for key in own if key not in measures]
    panels: dict[str, list[str]] = {
        "loss": sorted(losses, key=lambda key: (not key.startswith("train/loss"), key)),
        "weight λ, reversal": [key for key in curves if key.startswith(others[:2])],
        "|λ∇D| / |∇L_S|": [key for key in curves if key.startswith("alignment/") and key.endswith(("/ratio", "/norm"))],
        "cos(λ∇D, ∇L_S)": [key for key in curves if key.startswith("alignment/") and key.endswith("/cosine")],
        "what terms see": measures,
        "accuracy": [key for key in ("val/source_acc", "oracle/target_acc") if key in curves],
        "validator, scaled to [0, 1]": [key for key in curves if key.startswith(VALIDATOR)],
    }
    shown = {label: keys for label, keys in panels.items() if keys} or {"nothing was logged": []}
    heights = [max(2.3, 0.22 * len(keys)) for keys in shown.values()]  # a legend has a line for each
    figure = new_figure(10.5, 0.8 + sum(heights))
    axes_of = figure.subplots(len(shown), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (label, keys) in zip(axes_of, shown.items(), strict=True):
        for k, key in enumerate(keys):
            _draw_curve(axes, key, curves[key], TEN[k % len(TEN)], ":" if k >= len(TEN) else "-")
        axes.set_ylabel(label)
        if "λ∇D|" in label and any((curves[key].values > 0).any() for key in keys):
            axes.set_yscale("log")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if keys:
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    axes_of[-1].set_xlabel("step (batches)")
    figure.align_ylabels()
    figure.savefig(path, dpi=DPI)


def _read_curves(file: Path) -> dict[str, _Curve]:
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if rows and "step" not in rows[0]:
        raise ValueError(f"{file} has no column 'step', only {sorted(rows[0])}: expected the metrics.csv of a run")
    curves = {}
    for key in rows[0] if rows else ():
        table = np.array([(row["step"], row[key]) for row in rows if row[key]], dtype=np.float64).reshape(-1, 2)
        finite = np.isfinite(table).all(axis=1)
        if len(table):
            curves[key] = _Curve(table[finite, 0], table[finite, 1], int((~finite).sum()))
    return curves


def _draw_curve(axes: "Axes", key: str, curve: _Curve, colour: str, dashes: str) -> None:
    steps, values, lost = curve
    label = key.removeprefix("train/").removeprefix("val/").removeprefix("alignment/").removesuffix("/ratio")
    label = label.removesuffix("/cosine")
    if key.startswith(VALIDATOR) and len(values):
        low, high = values.min(), values.max()
        label = f"{label.removeprefix('validator/')}: {low:.3g} to {high:.3g}"
        values = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    is_oracle = key.startswith("oracle/")
    label = "oracle: target_acc (target labels;\nnot used for training)" if is_oracle else label
    colour, dashes = "black" if key == "train/loss" else colour, "--" if is_oracle else dashes
    marker = "o" if len(steps) <= 30 else ""
    label = f"{label} ({lost} not finite)" if lost else label
    axes.plot(steps, values, dashes, color=colour, linewidth=1.4, marker=marker, markersize=3.5, label=label)
