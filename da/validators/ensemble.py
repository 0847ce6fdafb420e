"""Several validators as one, by the ranks they give."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean


def rank_ensemble(values: Mapping[str, Sequence[float | None]]) -> list[float]:
    """Return each candidate's mean rank over the validators: from 1, the worst, to their number; higher is better.

    `values` are the scores of all candidates, in one order, by each validator; only their order counts, so validators
    of different scales add up. Equal scores share the mean of their ranks. A candidate without a score (None or NaN)
    gets rank 1 from that validator, and those with one stand above all that have none. ValueError if there is no
    validator, or if they have different numbers of candidates.
    """
    lengths = {name: len(scores) for name, scores in values.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"every validator must score the same candidates, at least one of them: got {lengths}")
    return [fmean(of_candidate) for of_candidate in zip(*map(_ranks, values.values()), strict=True)]


def _ranks(scores: Sequence[float | None]) -> list[float]:
    known = [score for score in scores if score is not None and not math.isnan(score)]
    missing = len(scores) - len(known)
    return [
        1.0
        if score is None or math.isnan(score)
        else missing + sum(other < score for other in known) + (sum(other == score for other in known) + 1) / 2
        for score in scores
    ]
