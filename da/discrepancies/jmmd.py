"""Joint maximum mean discrepancy: several layers compared together, by the product of their kernels."""

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import JointDiscrepancy
from da.discrepancies.kernels import (
    SCALES,
    Bandwidth,
    kernel_sum,
    scales_and_length,
    squared_distances,
    squared_length,
)


def kernel_of_distances(
    d2: Float[Tensor, "*pairs"], z: Float[Tensor, "n d"], scales: Sequence[float], bandwidth: Bandwidth
) -> Float[Tensor, "*pairs"]:
    """Mean over the scales s of exp(-d2 / (2 s b)), for squared distances `d2` between some of the rows of `z`.

    The bandwidth b is a squared length: the `mean` or `median` of those between all rows of `z`, held constant in
    backward, or a number. A list of numbers stands for the products s b, one per kernel, whatever the scales are.
    """
    scales, length = scales_and_length(scales, bandwidth)
    z = z.detach()
    limits = torch.finfo(z.dtype)
    # All rows equal: every distance is 0, whatever it is divided by, and 1 / b must not overflow in backward.
    b = squared_length(z - z.mean(dim=0), length).clamp_min(limits.tiny / limits.eps)
    return kernel_sum(d2 / -b, "gaussian", scales) / len(scales)


def gaussian_kernel(
    z: Float[Tensor, "n d"], scales: Sequence[float] = SCALES, bandwidth: Bandwidth = "mean"
) -> Float[Tensor, "n n"]:
    """Matrix of the mean of Gaussian kernels between all pairs of rows; see `kernel_of_distances`."""
    return kernel_of_distances(squared_distances(z), z, scales, bandwidth)


def _check_layers(layers_s: Sequence[Tensor], layers_t: Sequence[Tensor], bandwidths: int) -> None:
    if not 0 < len(layers_s) == len(layers_t) == bandwidths:
        raise ValueError(
            f"{len(layers_s)} source layers, {len(layers_t)} target layers and {bandwidths} bandwidths: "
            "there must be as many of each, and one or more"
        )
    for side, layers in (("source", layers_s), ("target", layers_t)):
        if len({len(z) for z in layers}) > 1:
            raise ValueError(f"the {side} layers have {[len(z) for z in layers]} rows, but a row must be in each")


def jmmd2(
    layers_s: Sequence[Tensor],
    layers_t: Sequence[Tensor],
    bandwidths: Sequence[Bandwidth],
    scales: Sequence[float] = SCALES,
) -> Float[Tensor, ""]:
    """Biased estimate of the squared joint MMD, from all pairs of rows (JAN, Long et al. 2017).

    The kernel is the product over the layers l, [n, d_l] and [m, d_l], of `gaussian_kernel` with `scales` and
    `bandwidths[l]`. Never negative but for rounding; D(x, x) = 0; on two samples of one distribution it is
    (1/n + 1/m)(1 - mean k) on average, not 0. ValueError for unequal numbers of layers, or of rows in the layers of a
    domain.
    """
    k, n = _kernel_of_layers(layers_s, layers_t, bandwidths, scales)
    return k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean()


def jmmd2_unbiased(
    layers_s: Sequence[Tensor],
    layers_t: Sequence[Tensor],
    bandwidths: Sequence[Bandwidth],
    scales: Sequence[float] = SCALES,
) -> Float[Tensor, ""]:
    """Unbiased estimate of the squared joint MMD: as `jmmd2`, without the pairs of a row with itself.

    The quadratic estimate of the authors' and of TLL's code. 0 on average for two samples of one distribution if the
    bandwidths are numbers, so it may be negative. ValueError as in `jmmd2`, and for fewer than 2 rows of a domain.
    """
    k, n = _kernel_of_layers(layers_s, layers_t, bandwidths, scales)
    m = len(k) - n
    if min(n, m) < 2:
        raise ValueError(f"needs at least 2 rows, got {n} source and {m} target rows")
    within_s, within_t = k[:n, :n].sum() - n, k[n:, n:].sum() - m  # k(x, x) is 1
    return within_s / (n * (n - 1)) + within_t / (m * (m - 1)) - 2 * k[:n, n:].mean()


def _kernel_of_layers(
    layers_s: Sequence[Tensor], layers_t: Sequence[Tensor], bandwidths: Sequence[Bandwidth], scales: Sequence[float]
) -> tuple[Float[Tensor, "rows rows"], int]:
    """Return the product of the layers' kernels between all rows, and how many of these are the source's."""
    _check_layers(layers_s, layers_t, len(bandwidths))
    clouds = [torch.cat(pair) for pair in zip(layers_s, layers_t, strict=True)]
    kernels = [gaussian_kernel(z, scales, b) for z, b in zip(clouds, bandwidths, strict=True)]
    return reduce(torch.mul, kernels), len(layers_s[0])


def jmmd2_linear(
    layers_s: Sequence[Tensor],
    layers_t: Sequence[Tensor],
    bandwidths: Sequence[Bandwidth],
    scales: Sequence[float] = SCALES,
) -> Float[Tensor, ""]:
    """Linear-time estimate of the squared joint MMD (JAN, Long et al. 2017).

    (2/n) sum over i = 1 .. n/2 of k(s_2i-1, s_2i) + k(t_2i-1, t_2i) - k(s_2i-1, t_2i) - k(t_2i-1, s_2i), with `jmmd2`'s
    kernel. Without bias if the bandwidths are numbers, so it may be negative; D(x, x) = 0; the order of the rows
    matters. n is the largest even number of rows that both domains have: rows beyond count in the bandwidths only.
    ValueError as in `jmmd2`, and for fewer than 2 rows.
    """
    _check_layers(layers_s, layers_t, len(bandwidths))
    half = min(len(layers_s[0]), len(layers_t[0])) // 2
    if half == 0:
        raise ValueError(f"needs at least 2 rows, got {len(layers_s[0])} source and {len(layers_t[0])} target rows")
    kernels = []
    for z_s, z_t, b in zip(layers_s, layers_t, bandwidths, strict=True):
        s_1, s_2, t_1, t_2 = (z[i : 2 * half : 2] for z in (z_s, z_t) for i in (0, 1))
        d2 = torch.stack([s_1 - s_2, t_1 - t_2, s_1 - t_2, t_1 - s_2]).square().sum(dim=2)
        kernels.append(kernel_of_distances(d2, torch.cat([z_s, z_t]), scales, b))
    within_s, within_t, between, back = reduce(torch.mul, kernels).sum(dim=1)
    return (within_s + within_t - between - back) / half


ESTIMATORS = {"biased": jmmd2, "unbiased": jmmd2_unbiased, "linear": jmmd2_linear}


class Jmmd(JointDiscrepancy):
    """Squared joint MMD by the `biased`, `unbiased` or `linear` estimator: `jmmd2`, `jmmd2_unbiased`, `jmmd2_linear`.

    `bandwidths` is `mean` or `median`, for any number of layers, or a list with the bandwidth of each. ValueError for
    what makes no kernel.
    """

    def __init__(
        self,
        scales: Sequence[float] = SCALES,
        bandwidths: Literal["mean", "median"] | Sequence[Bandwidth] = "mean",
        estimator: Literal["biased", "unbiased", "linear"] = "biased",
    ) -> None:
        super().__init__()
        if estimator not in ESTIMATORS:
            raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, got {estimator!r}")
        for bandwidth in [bandwidths] if isinstance(bandwidths, str) else bandwidths:
            scales_and_length(scales, bandwidth)
        self.scales, self.estimator = tuple(scales), estimator
        self.bandwidths = bandwidths if isinstance(bandwidths, str) else tuple(bandwidths)

    def forward(self, layers_s: Sequence[Tensor], layers_t: Sequence[Tensor]) -> Float[Tensor, ""]:
        each = self.bandwidths
        bandwidths = [each] * len(layers_s) if isinstance(each, str) else each
        return ESTIMATORS[self.estimator](layers_s, layers_t, bandwidths, self.scales)
