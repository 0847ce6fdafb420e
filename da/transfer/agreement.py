"""How well a score ranks candidates, measured on what they turned out to be worth."""

import math
from collections.abc import Sequence

from scipy.stats import weightedtau

FEWEST = 3
"""Candidates below which a rank correlation says nothing: of two, every score gives 1 or -1."""


def weighted_tau(scores: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Weighted Kendall tau of scores with accuracies, both larger for what is better: from -1 to 1.

    Vigna, A weighted correlation index for rankings with ties, WWW 2015: a pair weighs 1 / (r + 1) + 1 / (s + 1) by the
    ranks from 0 of its two, so that the best candidates count most; the mean of the ranks by score and by accuracy, as
    in LogME. None for fewer than 3 candidates, or where all scores, or all accuracies, are one number.
    """
    if len(scores) != len(accuracies):
        raise ValueError(f"there are {len(scores)} scores of {len(accuracies)} accuracies")
    if len(scores) < FEWEST:
        return None
    tau = float(weightedtau(scores, accuracies).statistic)
    return None if math.isnan(tau) else tau
