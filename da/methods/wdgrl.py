"""Wasserstein distance guided representation learning (Shen et al. 2018, AAAI)."""

from collections.abc import Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from da.methods.base import AlternatingMethod, Update
from da.models.mlp import Mlp
from da.models.network import Network
from da.models.optimizer import OptimizerFactory
from da.schedules import Schedule
from da.terms.base import Losses, complete_weights
from da.terms.critic import GradientPenalty
from da.types import Step


@final
class Wdgrl(AlternatingMethod):
    """Algorithm 1: a critic f learns W = mean f(z_s) - mean f(z_t), then the features make it small.

    Each batch, `critic_steps` times: f minimises -W + `gradient_penalty` P. Then once: backbone and bottleneck
    minimise L_S + lambda W, the head L_S. P is the penalty that holds f near 1-Lipschitz, `gradient_penalty`, at the
    source rows, the target rows and random points between pairs of them, alike. The pairs are those of `interpolates`
    on the batch of all processes, which for n = m is row i with row i; where n and m differ the shorter domain is
    repeated. W and P are row means.

    Args:
        hidden_dims: widths of the critic's hidden layers.
        critic_steps: updates of the critic a batch, the paper's n.
        gradient_penalty: the weight of P, the paper's gamma.
        weights: `wasserstein` is lambda. It does not slow the critic down.

    Raises ValueError for fewer than one critic step or a negative penalty weight.
    """

    def __init__(
        self,
        net: Network,
        optimizer: OptimizerFactory,
        hidden_dims: Sequence[int] = (100,),
        critic_steps: int = 5,
        gradient_penalty: float = 10.0,
        weights: Mapping[str, Schedule] | None = None,
        lr_schedule: Schedule | None = None,
    ) -> None:
        super().__init__(net, optimizer, lr_schedule)
        if critic_steps < 1 or gradient_penalty < 0:
            raise ValueError(
                f"critic_steps must be 1 or more and gradient_penalty not negative, got critic_steps={critic_steps}, "
                f"gradient_penalty={gradient_penalty}"
            )
        self.critic = Mlp(net.feature_dim, [*hidden_dims, 1])
        self.penalty = GradientPenalty()
        self.critic_steps, self.penalty_weight = critic_steps, gradient_penalty
        self.weight = complete_weights(weights, ("wasserstein",))["wasserstein"]

    def groups(self) -> dict[str, list[nn.Module]]:
        return {"network": [self.net], "critic": [self.critic]}

    def updates(self) -> list[Update]:
        both = ("source", "target")
        return [
            Update("criticise", self.criticise, ("critic",), both, repeat=self.critic_steps),
            Update("minimise", self.minimise, ("network",), both),
        ]

    def criticise(self, step: Step) -> Losses:
        distance = self._distance(step)
        penalty = self.penalty(self.critic, step.source.z, step.target.z)
        parts = {"wasserstein_max": distance, "gradient_penalty": penalty}
        return Losses(self.penalty_weight * penalty - distance, parts, {"gradient_penalty": self.penalty_weight})

    def minimise(self, step: Step) -> Losses:
        task, distance = F.cross_entropy(step.source.logits, step.source.y), self._distance(step)
        weight = self.weight(step.progress)
        return Losses(task + weight * distance, {"task": task, "wasserstein": distance}, {"wasserstein": weight})

    def _distance(self, step: Step) -> Float[Tensor, ""]:
        return self.critic(step.source.z).mean() - self.critic(step.target.z).mean()
