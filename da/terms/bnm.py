"""Batch nuclear-norm maximisation, exact and fast."""

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


class Fbnm(Term):
    """-(sum of the min(n, c) largest column norms of P) / n: `Bnm` without a singular value decomposition.

    FBNM (Cui et al. 2021), the L_{1,2} norm in place of the nuclear norm: O(nc) instead of O(nc min(n, c)). The two are
    equal where the columns of P are orthogonal, as for certain predictions. Divided by n as `Bnm` is; the authors'
    code divides by min(n, c). P is that of all processes together; nothing is held constant in backward.
    """

    streams = frozenset({"target"})

    def forward(self, step: Step) -> Float[Tensor, ""]:
        p = gather(step.target.logits.softmax(dim=1))
        norms = torch.linalg.vector_norm(p, dim=0)
        return -norms.topk(min(p.shape)).values.sum() / len(p)
