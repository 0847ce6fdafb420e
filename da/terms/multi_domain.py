"""A discriminator of K domains, for several sources."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from da.distributed import gather
from da.models.mlp import Mlp
from da.schedules import Ramp, Schedule
from da.terms.adversarial import reverse_gradient
from da.terms.base import Term
from da.types import Step


def mean_of_group_means(values: Float[Tensor, " n"], groups: Int[Tensor, " n"], num_groups: int) -> Float[Tensor, ""]:
    """Mean over the groups that have a row of the mean of their values: each weighs the same, whatever its size."""
    member = F.one_hot(groups, num_groups).to(values.dtype)
    sizes = member.sum(dim=0)
    return (values @ member / sizes.clamp_min(1)).sum() / (sizes > 0).sum()


class MultiDomainAdversarial(Term):
    """DANN (Ganin et al. 2016) with a softmax over K domains: the mean over the domains of their cross entropy.

    The discriminator tells from the features [n, d] which domain id, 0 to `num_domains` - 1, a row of the source or
    the target stream has; the features get its gradient reversed. Each domain in the batch of all processes weighs the
    same, so not a row mean. With K = 2 it is DANN's loss for a score that is the difference of the two outputs.
    `accuracy` is the mean over the domains too: 1/K cannot tell.

    ValueError for fewer than two domains, and for a row whose id is not one of them.
    """

    def __init__(
        self,
        feature_dim: int,
        num_domains: int,
        hidden_dims: Sequence[int] = (500, 500),
        dropout: float = 0.5,
        reversal: Schedule | None = None,
    ) -> None:
        super().__init__()
        if num_domains < 2:
            # A softmax over one output is 1 whatever the features are: no gradient, and no error either.
            raise ValueError(f"num_domains must be 2 or more, got {num_domains}")
        self.num_domains = num_domains
        self.discriminator = Mlp(feature_dim, [*hidden_dims, num_domains], dropout=dropout)
        self.reversal: Schedule = reversal if reversal is not None else Ramp()

    def forward(self, step: Step) -> Float[Tensor, ""]:
        ids = gather(torch.cat([step.source.domain, step.target.domain]))
        self._check(ids)
        z = torch.cat([step.source.z, step.target.z])
        scores = self.discriminator(reverse_gradient(z, self.reversal(step.progress)))
        scores = gather(scores)
        told = (scores.detach().argmax(dim=1) == ids).to(scores.dtype)
        self.measures = {"accuracy": mean_of_group_means(told, ids, self.num_domains)}
        return mean_of_group_means(F.cross_entropy(scores, ids, reduction="none"), ids, self.num_domains)

    @torch.compiler.disable  # an error for the user, not a branch of the graph
    def _check(self, ids: Int[Tensor, " n"]) -> None:
        low, high = ids.min(), ids.max()
        if low < 0 or high >= self.num_domains:
            raise ValueError(
                f"num_domains={self.num_domains} takes domain ids from 0 to {self.num_domains - 1}, "
                f"but the batch has ids from {int(low)} to {int(high)}"
            )
