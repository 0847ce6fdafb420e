"""Reliability diagrams: accuracy against confidence."""

from pathlib import Path

from torch import Tensor

from da.report.figures import BLUE, DPI, ORANGE, new_figure
from da.transfer.calibration import BINS, expected_calibration_error, reliability


def reliability_figure(logits: Tensor, y: Tensor, temperature: float, path: Path, rows: str) -> None:
    """Accuracy in bins of confidence, without and with a temperature; below, how many rows fall into each bin.

    Args:
        logits: [n, c].
        y: [n].
        temperature: of the second curve.
        path: of the png.
        rows: what they are, for the title.
    """
    figure = new_figure(6.0, 6.5)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot((0, 1), (0, 1), color="0.7", linewidth=1, label="accuracy = confidence")
    for t, colour, shift in ((1.0, BLUE, -0.2), (temperature, ORANGE, 0.2)):
        found = reliability((logits / t).softmax(dim=1), y, BINS)
        there = found.rows > 0
        ece = expected_calibration_error(found)
        label = f"T = {t:.2f}: ECE {ece:.3f}"
        upper.plot(
            found.confidence[there].tolist(),
            found.accuracy[there].tolist(),
            "o-",
            color=colour,
            markersize=4,
            label=label,
        )
        middles = [(k + 0.5 + shift) / BINS for k in range(BINS)]
        lower.bar(middles, (found.rows / len(y)).tolist(), width=0.4 / BINS, color=colour)
    upper.set(ylabel="accuracy", ylim=(0, 1.02), title=f"{len(y)} {rows}")
    lower.set(xlabel="confidence", ylabel="part of the rows", xlim=(0, 1))
    upper.legend(frameon=False, loc="upper left")
    figure.savefig(path, dpi=DPI)
