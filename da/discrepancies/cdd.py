"""Contrastive domain discrepancy: classes drawn together, different classes pushed apart."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.jmmd import gaussian_kernel
from da.discrepancies.kernels import SCALES, Bandwidth
from da.discrepancies.lmmd import ClassKernel, class_weights, shared_classes


def class_discrepancies(
    z_s: Float[Tensor, "n d"],
    p_s: Float[Tensor, "n c"],
    z_t: Float[Tensor, "m d"],
    p_t: Float[Tensor, "m c"],
    scales: Sequence[float] = SCALES,
    bandwidth: Bandwidth = "mean",
) -> Float[Tensor, "c c"]:
    """Squared MMD between source class a and target class b, for all pairs (CAN, Kang et al. 2019, eq. 3-4).

    D[a, b] = e_1(a) + e_2(b) - 2 e_3(a, b), the means of `gaussian_kernel` over the pairs of rows of a in the source,
    of b in the target, and between them: biased estimates. A soft label counts as that part of a row. Held constant
    in backward: `p_s`, `p_t`, and a bandwidth taken from the rows. D[a, b] means nothing where a or b has no rows.
    """
    n = len(z_s)
    w_s, w_t = class_weights(p_s), class_weights(p_t)
    k = gaussian_kernel(torch.cat([z_s, z_t]), scales, bandwidth)
    within_s = (w_s * (k[:n, :n] @ w_s)).sum(dim=0)
    within_t = (w_t * (k[n:, n:] @ w_t)).sum(dim=0)
    return within_s[:, None] + within_t[None, :] - 2 * w_s.T @ k[:n, n:] @ w_t


def cdd(
    z_s: Float[Tensor, "n d"],
    p_s: Float[Tensor, "n c"],
    z_t: Float[Tensor, "m d"],
    p_t: Float[Tensor, "m c"],
    scales: Sequence[float] = SCALES,
    bandwidth: Bandwidth = "mean",
) -> Float[Tensor, ""]:
    """Mean of D[a, a] minus the mean of D[a, b] over a != b, D = `class_discrepancies` (CAN, Kang et al. 2019, eq. 5).

    Only classes with rows on both sides count, and their number M divides: by M within and by M (M - 1) between
    classes. The paper's class-aware sampling makes them all the sampled classes; without it, classes drop out. One
    class leaves the within-class term alone, none leaves 0. Soft labels give all classes rows; the paper's are hard.

    Not a distance: D(x, x) is not 0 but minus the mean squared MMD between different classes. Negative values are the
    aim; none is below -2, since the squared distance of two means of kernels is 2 at most.
    """
    d = class_discrepancies(z_s, p_s, z_t, p_t, scales, bandwidth)
    shared = shared_classes(p_s, p_t).to(d.dtype)
    within = torch.diag(shared)
    between = shared[:, None] * shared[None, :] - within
    return (within * d).sum() / within.sum().clamp_min(1) - (between * d).sum() / between.sum().clamp_min(1)


class Cdd(ClassKernel):
    """`cdd` as a module; D(x, x) is below 0."""

    def forward(
        self,
        z_s: Float[Tensor, "n d"],
        p_s: Float[Tensor, "n c"],
        z_t: Float[Tensor, "m d"],
        p_t: Float[Tensor, "m c"],
    ) -> Float[Tensor, ""]:
        return cdd(z_s, p_s, z_t, p_t, self.scales, self.bandwidth)
