"""Domain confusion: features on which the domain classifier's answer is uniform."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from da.models.mlp import Mlp
from da.schedules import Constant, Schedule
from da.terms.adversarial import domain_accuracy, mean_domain_loss
from da.terms.base import Term
from da.types import Step


def through_constant(module: nn.Module, x: Tensor) -> Tensor:
    """Return `module(x)` with the parameters of `module` held constant in backward: the gradient reaches `x` only."""
    constants = {name: parameter.detach() for name, parameter in module.named_parameters()}
    output: Tensor = functional_call(module, constants, (x,))
    return output


def uniform_cross_entropy(scores: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean of -(log q + log(1 - q)) / 2 for q = sigmoid(score): log 2, its least value, where every q is 1/2."""
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, 0.5))


class DomainConfusion(Term):
    """L_D + `reversal` L_conf (Tzeng et al. 2015, ICCV, "Simultaneous deep transfer across domains and tasks").

    L_D is the domain classifier's cross entropy on features held constant, which trains the classifier alone. L_conf
    is the cross entropy of its answers with the uniform distribution, with the classifier held constant, which trains
    the features alone. Both are row means, and means of the two domains' own. Unlike a reversed gradient, that of
    L_conf grows with the classifier's certainty, and is 0 where it cannot tell.

    Nothing is reversed: `reversal` is the strength of what the features receive, as in the other adversarial terms,
    so that the classifier learns at full speed whatever the paper's weight of L_conf is. Measures the `accuracy` of
    the classifier and the L_conf, `confusion`.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden_dims: Sequence[int] = (500, 500),
        dropout: float = 0.5,
        reversal: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.discriminator = Mlp(feature_dim, [*hidden_dims, 1], dropout=dropout)
        self.reversal: Schedule = reversal if reversal is not None else Constant()

    def forward(self, step: Step) -> Float[Tensor, ""]:
        z, sizes = torch.cat([step.source.z, step.target.z]), [len(step.source.z), len(step.target.z)]
        scores_s, scores_t = self.discriminator(z.detach()).squeeze(1).split(sizes)
        told = (mean_domain_loss(scores_s, 1.0) + mean_domain_loss(scores_t, 0.0)) / 2
        seen_s, seen_t = through_constant(self.discriminator, z).squeeze(1).split(sizes)
        confused = (uniform_cross_entropy(seen_s) + uniform_cross_entropy(seen_t)) / 2
        self.measures = {"accuracy": domain_accuracy(scores_s, scores_t), "confusion": confused.detach()}
        return told + self.reversal(step.progress) * confused
