"""Adversarial terms: a domain discriminator behind a gradient reversal.

The discriminator minimises the domain loss; the features receive its gradient times minus the reversal
strength. Strength and weight are two settings: `weights.<term>` multiplies the whole term, the
discriminator's own learning included; `reversal` multiplies only what the features receive.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.distributed import gather
from da.models.mlp import Mlp
from da.schedules import Ramp, Schedule
from da.terms.base import Term
from da.types import Encoded, Step


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * grad, None


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """Return `x`, whose gradient is multiplied by -`strength` in backward (Ganin & Lempitsky 2015, sec. 3.1)."""
    reversed_: Tensor = _Reverse.apply(x, strength)
    return reversed_


def multilinear_map(p: Float[Tensor, "n c"], z: Float[Tensor, "n d"]) -> Float[Tensor, "n cd"]:
    """Outer product of predictions and features, a row each (CDAN, Long et al. 2018, eq. 4)."""
    return torch.bmm(p.unsqueeze(2), z.unsqueeze(1)).flatten(start_dim=1)


class _DomainLoss(Term):
    """Mean of the source's and the target's binary cross entropy, source = 1."""

    def __init__(self, in_dim: int, hidden_dims: Sequence[int], dropout: float, reversal: Schedule | None) -> None:
        super().__init__()
        self.discriminator = Mlp(in_dim, [*hidden_dims, 1], dropout=dropout)
        self.reversal: Schedule = reversal if reversal is not None else Ramp()

    @abstractmethod
    def discriminator_input(self, rows: Encoded) -> Float[Tensor, "n k"]: ...

    def row_weights(self, rows: Encoded) -> Float[Tensor, " n"] | None:
        return None

    def forward(self, step: Step) -> Float[Tensor, ""]:
        domains = (step.source, step.target)
        # One pass over both domains: a third faster than two of half the size.
        seen = torch.cat([self.discriminator_input(rows) for rows in domains])
        scores = self.discriminator(reverse_gradient(seen, self.reversal(step.progress))).squeeze(1)
        parts = scores.split([len(rows.z) for rows in domains])
        return (self._loss(step.source, parts[0], 1.0) + self._loss(step.target, parts[1], 0.0)) / 2

    def _loss(self, rows: Encoded, scores: Float[Tensor, " n"], domain: float) -> Float[Tensor, ""]:
        losses = F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, domain), reduction="none")
        weights = self.row_weights(rows)
        if weights is None:
            return losses.mean()
        # Normalised by the sum over all processes, so not a mean of per-process means.
        losses, weights = gather(losses), gather(weights)
        return (weights * losses).sum() / weights.sum()


class Adversarial(_DomainLoss):
    """DANN (Ganin et al. 2016, eq. 9): the discriminator sees the features."""

    def __init__(
        self,
        feature_dim: int,
        hidden_dims: Sequence[int] = (500, 500),
        dropout: float = 0.5,
        reversal: Schedule | None = None,
    ) -> None:
        super().__init__(feature_dim, hidden_dims, dropout, reversal)

    def discriminator_input(self, rows: Encoded) -> Float[Tensor, "n d"]:
        return rows.z


class ConditionalAdversarial(_DomainLoss):
    """CDAN (Long et al. 2018, eq. 2-4): the discriminator sees features (x) predictions, which are held constant.

    With `entropy_conditioning`, CDAN+E (eq. 8): each row weighs 1 + exp(-H(p)), held constant, normalised
    to sum 1 in each domain, so rows that are easy to classify lead.
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        hidden_dims: Sequence[int] = (500, 500),
        dropout: float = 0.5,
        reversal: Schedule | None = None,
        entropy_conditioning: bool = False,
    ) -> None:
        super().__init__(feature_dim * num_classes, hidden_dims, dropout, reversal)
        self.entropy_conditioning = entropy_conditioning

    def discriminator_input(self, rows: Encoded) -> Float[Tensor, "n cd"]:
        return multilinear_map(rows.logits.detach().softmax(dim=1), rows.z)

    def row_weights(self, rows: Encoded) -> Float[Tensor, " n"] | None:
        if not self.entropy_conditioning:
            return None
        log_p = rows.logits.detach().log_softmax(dim=1)
        return 1 + torch.exp((log_p.exp() * log_p).sum(dim=1))
