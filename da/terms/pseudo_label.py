"""Cross entropy against labels that the method itself assigned."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from da.distributed import gather
from da.terms.base import Term
from da.types import HIDDEN, Step


class PseudoLabel(Term):
    """Mean cross entropy of the target rows against `labels`, looked up by row number."""

    streams = frozenset({"target"})
    labels: Tensor

    def __init__(self) -> None:
        super().__init__()
        # No weights: a run that starts from this network assigns its own.
        self.register_buffer("labels", torch.empty(0, dtype=torch.long), persistent=False)

    def assign(self, labels: Int[Tensor, " rows"]) -> None:
        """Take the labels of all target rows, in row order."""
        self.labels = labels

    def forward(self, step: Step) -> Float[Tensor, ""]:
        if not len(self.labels):
            raise ValueError("no pseudo-labels were assigned before the first step; use this term in SHOT")
        return F.cross_entropy(step.target.logits, self.labels[step.target.index], ignore_index=HIDDEN)


class ThresholdPseudoLabel(Term):
    """Cross entropy of the confident target rows against their own most probable class.

    Lee 2013, whose `threshold` is 0: every row counts. The labels, and which rows are kept, are held constant in
    backward. Measures: `kept`, the fraction of rows whose largest probability is `threshold` or more.

    Args:
        threshold: on the largest probability of a row, in [0, 1].
        mean_over: `all` divides the sum over the kept rows by the number of all rows, so that the term fades where few
            are confident; `kept` divides by the number of the kept rows of all processes, 0 where there are none.
    """

    streams = frozenset({"target"})

    def __init__(self, threshold: float = 0.95, mean_over: Literal["all", "kept"] = "all") -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        if mean_over not in ("all", "kept"):
            raise ValueError(f"mean_over must be 'all' or 'kept', got {mean_over!r}")
        self.threshold, self.mean_over = threshold, mean_over

    def forward(self, step: Step) -> Float[Tensor, ""]:
        logits = step.target.logits
        largest, labels = logits.detach().softmax(dim=1).max(dim=1)
        kept = (largest >= self.threshold).to(logits.dtype)
        self.measures = {"kept": kept.mean()}
        loss = (kept * F.cross_entropy(logits, labels, reduction="none")).mean()
        if self.mean_over == "all":
            return loss
        everywhere = gather(kept)
        return loss / everywhere.mean().clamp_min(1 / len(everywhere))  # at least one row, or the loss is 0 anyway
