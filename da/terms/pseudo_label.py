"""Cross entropy against labels that the method itself assigned."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from da.terms.base import Term
from da.types import HIDDEN, Step


class PseudoLabel(Term):
    """Mean cross entropy of the target rows against `labels`, looked up by row number."""

    streams = frozenset({"target"})
    labels: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Assigned anew before use, so not worth keeping in a checkpoint.
        self.register_buffer("labels", torch.empty(0, dtype=torch.long), persistent=False)

    def assign(self, labels: Int[Tensor, " rows"]) -> None:
        """Take the labels of all target rows, in row order."""
        self.labels = labels

    def forward(self, step: Step) -> Float[Tensor, ""]:
        if not len(self.labels):
            raise ValueError("no pseudo-labels were assigned before the first step; use this term in SHOT")
        return F.cross_entropy(step.target.logits, self.labels[step.target.index], ignore_index=HIDDEN)
