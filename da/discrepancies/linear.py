"""Distance between the means of two clouds."""

from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy


def mean_distance(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Squared Euclidean distance of the means: MMD^2 with a linear kernel, biased estimate (DDC, Tzeng et al. 2014)."""
    return (z_s.mean(dim=0) - z_t.mean(dim=0)).square().sum()


class Linear(Discrepancy):
    """`mean_distance` as a module."""

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return mean_distance(z_s, z_t)
