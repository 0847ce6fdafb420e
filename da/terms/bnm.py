"""Batch nuclear-norm maximisation."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.distributed import gather
from da.terms.base import Term
from da.types import Step


class Bnm(Term):
    """-|P|_* / n of the target prediction matrix P [n, c]: low when predictions are confident and diverse.

    Cui et al. 2020, eq. 10, which divides by the batch size n; the authors' code divides by min(n, c)
    instead, a factor n / c more at n = 64, c = 10.
    """

    streams = frozenset({"target"})

    def forward(self, step: Step) -> Float[Tensor, ""]:
        p = gather(step.target.logits.softmax(dim=1))
        return -torch.linalg.matrix_norm(p, ord="nuc") / len(p)
