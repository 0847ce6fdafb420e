"""What a mix of two networks scores along the line between them."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

Choice = Literal["source", "labeled", "infomax", "oracle"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
MEANING: Mapping[Choice, str] = {
    "source": "accuracy on source validation rows",
    "labeled": "accuracy on the labelled target rows of the run",
    "infomax": "information maximisation on target rows, no labels",
    "oracle": "accuracy on target test rows: it reads their labels",
}
"""What may choose."""

Point = Mapping[str, float | int | None]
"""What was measured at one alpha, by column; None where there was no label to measure it on."""

COLUMNS: Mapping[Choice, tuple[str, str | None]] = {
    "source": ("source_acc", "source_loss"),
    "labeled": ("labeled_acc", "labeled_loss"),
    "infomax": ("infomax", None),
    "oracle": ("oracle_target_acc", "oracle_target_loss"),
}
"""What each choice maximises, and what decides between equals."""


def alphas(points: int) -> list[float]:
    """Return so many shares of the first network, evenly spaced from 0 to 1; ValueError for fewer than 2."""
    if points < 2:
        raise ValueError(f"a sweep of {points} points has no ends: it takes at least 2")
    return [i / (points - 1) for i in range(points)]


def best(points: Sequence[Point], choice: Choice) -> int:
    """Return the number of the point that the choice picks: the highest score, then the lowest loss, then the first.

    Raises ValueError where its rows have no labels.
    """
    score, loss = COLUMNS[choice]

    def key(i: int) -> tuple[float, float]:
        value, cost = points[i][score], points[i][loss] if loss else 0.0
        if value is None or cost is None:
            raise ValueError(f"--choose {choice}: there are no labels to choose by")
        return (-math.inf, -math.inf) if math.isnan(value) else (value, -cost)

    return max(range(len(points)), key=key)


def barrier(points: Sequence[Point], loss: str) -> tuple[float, float] | None:
    """Return (height, alpha) of the largest rise of the loss above the straight line between its ends, at least 0.

    max over alpha of L(alpha theta_1 + (1 - alpha) theta_2) - alpha L(theta_1) - (1 - alpha) L(theta_2), of Frankle et
    al., Linear mode connectivity and the lottery ticket hypothesis, ICML 2020, with their own line between unequal
    ends from Entezari et al., ICLR 2022. None where the loss was not measured. `points` are in order of alpha.
    """
    values = [(point["alpha"], point[loss]) for point in points]
    known = [(alpha, value) for alpha, value in values if alpha is not None and value is not None]
    if len(known) < len(values):
        return None
    (_, second), (_, first) = known[0], known[-1]
    return max(((value - alpha * first - (1 - alpha) * second), alpha) for alpha, value in known)
