"""Central moment discrepancy."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.discrepancies.moment import euclidean_norm


def cmd(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    num_moments: int = 5,
    interval: Sequence[float] = (0.0, 1.0),
) -> Float[Tensor, ""]:
    """Central moment discrepancy CMD_K, K = `num_moments` (Zellinger et al. 2017), from sample means.

    |E z_s - E z_t|_2 / |b - a| + sum over k = 2 ... K of |c_k(z_s) - c_k(z_t)|_2 / |b - a|^k, where c_k(z) =
    E (z - E z)^k is taken for each coordinate (divided by n, not n - 1). [a, b] = `interval` is where the features lie:
    [0, 1] after a sigmoid, [-1, 1] after tanh. Features outside are not refused, but the high orders then dominate.
    The gradient of a norm at 0 is 0.
    """
    width = interval[1] - interval[0]
    mean_s, mean_t = z_s.mean(dim=0), z_t.mean(dim=0)
    centred_s, centred_t = (z_s - mean_s) / width, (z_t - mean_t) / width
    central = [
        euclidean_norm((centred_s**order).mean(dim=0) - (centred_t**order).mean(dim=0))
        for order in range(2, num_moments + 1)
    ]
    return torch.stack([euclidean_norm((mean_s - mean_t) / width), *central]).sum()


class Cmd(Discrepancy):
    """`cmd` as a module."""

    rotation_invariant = False

    def __init__(self, num_moments: int = 5, interval: Sequence[float] = (0.0, 1.0)) -> None:
        super().__init__()
        if num_moments < 1:
            raise ValueError(f"num_moments must be 1 or more, got {num_moments}")
        if len(interval) != 2 or interval[0] >= interval[1]:
            raise ValueError(f"interval must be [a, b] with a < b, got {list(interval)}")
        self.num_moments, self.interval = num_moments, tuple(interval)

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return cmd(z_s, z_t, self.num_moments, self.interval)
