"""Several validators as one."""

from collections.abc import Mapping, Sequence
from statistics import fmean


def rank_ensemble(values: Mapping[str, Sequence[float]]) -> list[float]:
    """Return the mean rank of each candidate over the validators, the best one highest; equal values share a rank."""
    ranks = [
        [sum(b < a for b in scores) + sum(b == a for b in scores) / 2 for a in scores] for scores in values.values()
    ]
    return [fmean(of_candidate) for of_candidate in zip(*ranks, strict=True)]
