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
from da.terms.entropy import entropy
from da.types import Encoded, Step


class _Reverse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, strength: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.strength = inputs[1]

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


def random_multilinear_map(
    p: Float[Tensor, "n c"],
    z: Float[Tensor, "n d"],
    p_map: Float[Tensor, "c k"],
    z_map: Float[Tensor, "d k"],
) -> Float[Tensor, "n k"]:
    """(z R_z) * (p R_p) / sqrt(k), a row each (CDAN, Long et al. 2018, eq. 6).

    With standard normal R the inner product of two rows is, on average, that of their outer products.
    """
    return (z @ z_map) * (p @ p_map) / z_map.shape[1] ** 0.5


def mean_domain_loss(
    scores: Float[Tensor, " n"], domain: float, weights: Float[Tensor, " n"] | None = None
) -> Float[Tensor, ""]:
    """Mean binary cross entropy of one domain's scores (1 source, 0 target), `weights` normalised to sum 1.

    With weights it is not a row mean, and is computed on the rows of all processes together.
    """
    losses = F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, domain), reduction="none")
    if weights is None:
        return losses.mean()
    # Normalised by the sum over all processes, so not a mean of per-process means.
    losses, weights = gather(losses), gather(weights)
    return (weights * losses).sum() / weights.sum()


def domain_accuracy(scores_s: Float[Tensor, " n"], scores_t: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Fraction of rows whose domain is told, the mean of the two domains': 0.5 cannot tell, whatever n and m."""
    told_s, told_t = scores_s.detach() > 0, scores_t.detach() <= 0
    return (told_s.to(scores_s.dtype).mean() + told_t.to(scores_t.dtype).mean()) / 2


class _DomainLoss(Term):
    """Mean of the source's and the target's binary cross entropy, source = 1; measures the accuracy."""

    def __init__(
        self,
        in_dim: int,
        hidden_dims: Sequence[int],
        dropout: float,
        reversal: Schedule | None,
        entropy_conditioning: bool,
    ) -> None:
        super().__init__()
        self.discriminator = Mlp(in_dim, [*hidden_dims, 1], dropout=dropout)
        self.reversal: Schedule = reversal if reversal is not None else Ramp()
        self.entropy_conditioning = entropy_conditioning

    @abstractmethod
    def discriminator_input(self, rows: Encoded) -> Float[Tensor, "n k"]: ...

    def row_weights(self, rows: Encoded) -> Float[Tensor, " n"] | None:
        """1 + exp(-H(p)) of each row, held constant in backward (CDAN+E, Long et al. 2018, eq. 8)."""
        return 1 + torch.exp(-entropy(rows.logits.detach())) if self.entropy_conditioning else None

    def forward(self, step: Step) -> Float[Tensor, ""]:
        domains = (step.source, step.target)
        # One pass over both domains: a third faster than two of half the size.
        seen = torch.cat([self.discriminator_input(rows) for rows in domains])
        scores = self.discriminator(reverse_gradient(seen, self.reversal(step.progress))).squeeze(1)
        parts = scores.split([len(rows.z) for rows in domains])
        self.measures = {"accuracy": domain_accuracy(*parts)}
        source = mean_domain_loss(parts[0], 1.0, self.row_weights(step.source))
        target = mean_domain_loss(parts[1], 0.0, self.row_weights(step.target))
        return (source + target) / 2


class Adversarial(_DomainLoss):
    """DANN (Ganin et al. 2016, eq. 9): the discriminator sees the features.

    With `entropy_conditioning`, DANN+E: the rows weigh as in CDAN+E, see `ConditionalAdversarial`.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden_dims: Sequence[int] = (500, 500),
        dropout: float = 0.5,
        reversal: Schedule | None = None,
        entropy_conditioning: bool = False,
    ) -> None:
        super().__init__(feature_dim, hidden_dims, dropout, reversal, entropy_conditioning)

    def discriminator_input(self, rows: Encoded) -> Float[Tensor, "n d"]:
        return rows.z


class ConditionalAdversarial(_DomainLoss):
    """CDAN (Long et al. 2018, eq. 2-4): the discriminator sees features (x) predictions, which are held constant.

    With `entropy_conditioning`, CDAN+E (eq. 8): each row weighs 1 + exp(-H(p)), held constant, normalised
    to sum 1 in each domain, so rows that are easy to classify lead. With `random_dim`, the randomised map
    (eq. 6) of that many columns in place of the outer product's c d: its standard normal matrices are drawn
    once from `seed` and saved with the weights. ValueError for a `random_dim` below 1.
    """

    same_classes = True
    p_map: Tensor
    z_map: Tensor

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        hidden_dims: Sequence[int] = (500, 500),
        dropout: float = 0.5,
        reversal: Schedule | None = None,
        entropy_conditioning: bool = False,
        random_dim: int | None = None,
        seed: int = 0,
    ) -> None:
        if random_dim is not None and random_dim < 1:
            raise ValueError(f"random_dim must be 1 or more, or null for the whole outer product, got {random_dim}")
        in_dim = feature_dim * num_classes if random_dim is None else random_dim
        super().__init__(in_dim, hidden_dims, dropout, reversal, entropy_conditioning)
        self.random_dim = random_dim
        if random_dim is not None:
            # A generator of its own: every process must have the same matrices.
            generator = torch.Generator().manual_seed(seed)
            self.register_buffer("p_map", torch.randn(num_classes, random_dim, generator=generator))
            self.register_buffer("z_map", torch.randn(feature_dim, random_dim, generator=generator))

    def discriminator_input(self, rows: Encoded) -> Float[Tensor, "n k"]:
        p = rows.logits.detach().softmax(dim=1)
        if self.random_dim is None:
            return multilinear_map(p, rows.z)
        return random_multilinear_map(p, rows.z, self.p_map, self.z_map)
