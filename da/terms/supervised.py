"""Supervised terms."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.terms.base import Term
from da.types import Step


class CrossEntropy(Term):
    """Mean cross entropy: L_S on `source`, L_T on the few labelled target rows of `labeled`."""

    def __init__(self, stream: str = "source", label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.stream = stream
        self.streams = frozenset({stream})
        self.label_smoothing = label_smoothing

    def forward(self, step: Step) -> Float[Tensor, ""]:
        rows = step.streams[self.stream]
        return F.cross_entropy(rows.logits, rows.y, label_smoothing=self.label_smoothing)
