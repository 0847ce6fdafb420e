"""Source accuracy."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.types import Encoded, Role
from da.validators.base import Validator


class SourceAccuracy(Validator):
    """Accuracy on held-out source rows: says nothing of the target, but sees a model that has collapsed."""

    reads: frozenset[Role] = frozenset({"source"})
    correct: Tensor
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, role: Role, rows: Encoded) -> None:
        if role == "source":
            self.correct += (rows.logits.argmax(dim=1) == rows.y).sum()
            self.rows += len(rows.y)

    def compute(self) -> Float[Tensor, ""]:
        return self.correct / self.rows
