"""Local maximum mean discrepancy: MMD within each class."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from da.discrepancies.base import ConditionalDiscrepancy
from da.discrepancies.jmmd import gaussian_kernel
from da.discrepancies.kernels import SCALES, Bandwidth, scales_and_length


def class_weights(p: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Weights of the rows in the mean of each class, held constant in backward (DSAN, Zhu et al. 2020, eq. 7).

    w_ic = p_ic / sum_j p_jc: every column sums to 1, or to 0 for a class without rows.
    """
    p = p.detach()
    return p / p.sum(dim=0).clamp_min(torch.finfo(p.dtype).tiny)


def shared_classes(p_s: Float[Tensor, "n c"], p_t: Float[Tensor, "m c"]) -> Bool[Tensor, " c"]:
    """Whether a class has a row with a probability above 0 on both sides."""
    return (p_s > 0).any(dim=0) & (p_t > 0).any(dim=0)


def lmmd2(
    z_s: Float[Tensor, "n d"],
    p_s: Float[Tensor, "n c"],
    z_t: Float[Tensor, "m d"],
    p_t: Float[Tensor, "m c"],
    scales: Sequence[float] = SCALES,
    bandwidth: Bandwidth = "mean",
) -> Float[Tensor, ""]:
    """Mean over the classes of the squared MMD between their weighted rows (DSAN, Zhu et al. 2020, eq. 6-8).

    Mean over c of |sum_i w_ic phi(z_s_i) - sum_j w_jc phi(z_t_j)|^2, with `class_weights` of `p_s` and `p_t` and with
    `gaussian_kernel`'s phi: the biased estimate, never negative. The sum over the classes is in the weights, so there
    is one kernel matrix and no loop. Only classes with rows on both sides count, and their number divides: where all
    have, it is the paper's 1/C. Without any the value and the gradient are 0. A soft p_t, as in the paper, gives all
    classes rows, however improbable they are. Held constant in backward, as in the authors' code: both weights, and
    a bandwidth taken from the rows.

    D(x, x) = 0 for equal p; with one class it is the biased MMD^2.
    """
    shared = shared_classes(p_s, p_t)
    weights = torch.cat([class_weights(p_s), -class_weights(p_t)]) * shared
    k = gaussian_kernel(torch.cat([z_s, z_t]), scales, bandwidth)
    return (weights * (k @ weights)).sum() / shared.sum().clamp_min(1)


class ClassKernel(ConditionalDiscrepancy):
    """A discrepancy of classes under one mean of Gaussian kernels: its settings."""

    def __init__(self, scales: Sequence[float] = SCALES, bandwidth: Bandwidth = "mean") -> None:
        super().__init__()
        scales_and_length(scales, bandwidth)
        self.scales, self.bandwidth = tuple(scales), bandwidth


class Lmmd(ClassKernel):
    """`lmmd2` as a module."""

    def forward(
        self,
        z_s: Float[Tensor, "n d"],
        p_s: Float[Tensor, "n c"],
        z_t: Float[Tensor, "m d"],
        p_t: Float[Tensor, "m c"],
    ) -> Float[Tensor, ""]:
        return lmmd2(z_s, p_s, z_t, p_t, self.scales, self.bandwidth)
