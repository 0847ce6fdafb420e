"""Accuracy on a few labelled target rows."""

import math

import torch
from torch import Tensor

from da.types import HIDDEN
from da.validators.base import Seen, Validator


class FewShotAccuracy(Validator):
    """Accuracy on k labelled target rows a class. READS TARGET LABELS: the run counts them and says so.

    Args:
        labels_per_class: k.
    """

    resists_collapse = True

    def __init__(self, labels_per_class: int = 3) -> None:
        if labels_per_class < 1:
            raise ValueError(f"labels_per_class={labels_per_class} must be at least 1: it scores labelled rows")
        self.labels_per_class = labels_per_class

    def score(self, seen: Seen) -> Tensor:
        shown = seen.target.y != HIDDEN
        if not shown.any():
            return torch.tensor(math.nan)
        return (seen.predicted == seen.target.y)[shown].float().mean()

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 0.0, 1.0
