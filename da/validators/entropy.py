"""Negative target entropy."""

import math

from torch import Tensor

from da.terms.entropy import entropy
from da.validators.base import Seen, Validator


class TargetEntropy(Validator):
    """Minus the mean entropy of the target predictions, in nats (Morerio et al. 2018): 0 when all are certain."""

    def score(self, seen: Seen) -> Tensor:
        return -entropy(seen.target.logits).mean()

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return -math.log(seen.target.logits.shape[1]), 0.0
