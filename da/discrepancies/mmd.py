"""Maximum mean discrepancy."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy


def squared_distances(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Squared Euclidean distances of all pairs of rows, by one Gram matrix: no [n, n, d] tensor.

    The rows are centred first: distances do not change, rounding errors shrink.
    """
    x = x - x.mean(dim=0).detach()
    gram = x @ x.T
    norms = gram.diagonal()
    # A pair of equal rows may come out below zero by rounding.
    return (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0)


def mean_bandwidth(d2: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    """Mean squared distance over the pairs i != j."""
    return d2.sum() / (len(d2) * (len(d2) - 1))


def mmd2(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    scales: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
    bandwidth: float | None = None,
) -> Float[Tensor, ""]:
    """Biased estimate of MMD^2 under the mean of Gaussian kernels (Gretton et al. 2012, eq. 5; DAN, Long et al. 2015).

    k(x, y) = mean over the scales s of exp(-|x - y|^2 / (2 s b)), where b is `bandwidth`, a squared
    length, or, if None, the mean squared distance over all pairs of the n + m rows, held constant in
    backward. D(x, x) = 0; on two samples of one distribution the biased estimate is (1/n + 1/m)(1 - mean k), not 0.
    """
    n = len(z_s)
    d2 = squared_distances(torch.cat([z_s, z_t]))
    b = mean_bandwidth(d2.detach()) if bandwidth is None else d2.new_tensor(bandwidth)
    b = b.clamp_min(torch.finfo(d2.dtype).tiny)  # all rows equal: every distance is 0, whatever it is divided by
    k = torch.stack([torch.exp(d2 / (-2 * s * b)) for s in scales]).mean(dim=0)
    return k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean()


class Mmd(Discrepancy):
    """`mmd2` as a module."""

    def __init__(self, scales: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0), bandwidth: float | None = None) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"scales must be positive, got {list(scales)}")
        if bandwidth is not None and bandwidth <= 0:
            raise ValueError(f"bandwidth must be positive (a squared length) or null, got {bandwidth}")
        self.scales, self.bandwidth = tuple(scales), bandwidth

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return mmd2(z_s, z_t, self.scales, self.bandwidth)
