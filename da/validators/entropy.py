"""Negative target entropy."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.terms.entropy import entropy
from da.types import Encoded, Role
from da.validators.base import Validator


class TargetEntropy(Validator):
    """Minus the mean entropy of the target predictions, in nats (Morerio et al. 2018): 0 when all are certain."""

    total: Tensor
    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, role: Role, rows: Encoded) -> None:
        if role == "target":
            self.total += entropy(rows.logits.float()).sum()
            self.rows += len(rows.logits)

    def compute(self) -> Float[Tensor, ""]:
        return -self.total / self.rows
