"""Distances between the raw moments of clouds."""

from collections.abc import Sequence
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy


def euclidean_norm(x: Float[Tensor, " d"]) -> Float[Tensor, ""]:
    """|x|_2 without overflow or underflow of the squares; the gradient at 0 is 0."""
    scale = x.detach().abs().max().clamp_min(torch.finfo(x.dtype).tiny)
    return scale * torch.linalg.vector_norm(x / scale)


def raw_moments(z: Float[Tensor, "n d"], num_moments: int) -> list[Float[Tensor, " d"]]:
    """Means of z, z^2, ... z^num_moments, a coordinate each: no products of two coordinates."""
    return [(z**order).mean(dim=0) for order in range(1, num_moments + 1)]


def moment_distance(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], num_moments: int = 2) -> Float[Tensor, ""]:
    """Sum over k of |E z_s^k - E z_t^k|_2, k = 1 ... `num_moments` (M3SDA, Peng et al. 2019, eq. 1, for one source).

    Raw moments of each coordinate, norms not squared. The gradient of a norm at 0 is 0.
    """
    pairs = zip(raw_moments(z_s, num_moments), raw_moments(z_t, num_moments), strict=True)
    return torch.stack([euclidean_norm(of_s - of_t) for of_s, of_t in pairs]).sum()


def moment_distance_many(
    sources: Sequence[Float[Tensor, "_ d"]], z_t: Float[Tensor, "m d"], num_moments: int = 2
) -> Float[Tensor, ""]:
    """Moment distance of several sources and a target (Peng et al. 2019, eq. 1).

    Mean of `moment_distance` over the pairs of a source with the target, plus its mean over the pairs of two sources;
    for one source, the first alone. The clouds may differ in their numbers of rows. Raises `ValueError` without a
    source.
    """
    if not sources:
        raise ValueError("sources must hold one cloud or more, got none")
    to_target = torch.stack([moment_distance(z_s, z_t, num_moments) for z_s in sources]).mean()
    among = [moment_distance(x, y, num_moments) for x, y in combinations(sources, 2)]
    return to_target + torch.stack(among).mean() if among else to_target


class MomentDistance(Discrepancy):
    """`moment_distance` as a module."""

    rotation_invariant = False

    def __init__(self, num_moments: int = 2) -> None:
        super().__init__()
        if num_moments < 1:
            raise ValueError(f"num_moments must be 1 or more, got {num_moments}")
        self.num_moments = num_moments

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return moment_distance(z_s, z_t, self.num_moments)
