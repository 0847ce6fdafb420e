"""Standard error of the maximum mean discrepancy."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.kernels import KERNELS, SCALES, Bandwidth, centred, scales_and_length, squared_length
from da.discrepancies.mmd import mmd2


@torch.no_grad()
def mmd2_with_error(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    scales: Sequence[float] = SCALES,
    bandwidth: Bandwidth = "mean",
    kernel: str = "gaussian",
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Unbiased estimate of MMD^2, with the options of `mmd2`, and its standard error; a report, without gradients.

    The variance of the two-sample U-statistic is, by Hoeffding's decomposition (Serfling 1980, ch. 5), A + B with
    A = 4 V(a)/n + 4 V(b)/m, B = 2 W_ss / (n (n - 1)) + 2 W_tt / (m (m - 1)) + 4 W_st / (n m), where
    a(x) = E k(x, x') - E k(x, y), b(y) = E k(y, y') - E k(x, y), and W is the variance of what is left of k without
    the effects of its two rows. Under a shift A leads, between equal distributions A = 0. All are estimated without
    bias by an analysis of variance of the kernel matrix (Sutherland & Deka 2019 do so for n = m), but an A that comes
    out negative counts as 0: between equal distributions the error is therefore too wide, by up to a half. The
    bandwidth is taken as given: that it comes from the same rows is not in the error. Memory: the whole
    [n + m, n + m] matrix. ValueError if one of the clouds has fewer than 4 rows.
    """
    n, m = len(z_s), len(z_t)
    if min(n, m) < 4:
        raise ValueError(f"a standard error needs at least 4 rows of each domain, got {n} source and {m} target rows")
    k = kernel_matrix(centred(z_s, z_t), scales, bandwidth, kernel)
    effects_s, rest_s = _within(k[:n, :n])
    effects_t, rest_t = _within(k[n:, n:])
    mixed_s, mixed_t, rest_st = _between(k[:n, n:])
    # The variance of estimated effects is that of the effects plus what is left of k, averaged over a row.
    v_s = (effects_s - mixed_s).var() - rest_s / (n - 2) - rest_st / m
    v_t = (effects_t - mixed_t).var() - rest_t / (m - 2) - rest_st / n
    of_effects = (4 * v_s / n + 4 * v_t / m).clamp_min(0)
    of_rest = 2 * rest_s / (n * (n - 1)) + 2 * rest_t / (m * (m - 1)) + 4 * rest_st / (n * m)
    return mmd2(z_s, z_t, scales, bandwidth, "unbiased", kernel), (of_effects + of_rest).sqrt()


def kernel_matrix(x: Tensor, scales: Sequence[float], bandwidth: Bandwidth, kernel: str) -> Float[Tensor, "n n"]:
    """Return the kernel of all pairs of centred rows `x` [n, d], the mean over the scales; options as in `mmd2`."""
    gram = x @ x.T
    if kernel == "linear":
        return gram
    scales, length = scales_and_length(scales, bandwidth)
    norms = gram.diagonal()
    t = (2 * gram - norms[:, None] - norms[None, :]).clamp_max(0) / squared_length(x, length)
    return KERNELS[kernel](t, scales, False)[0] / len(scales)


def _within(k: Float[Tensor, "n n"]) -> tuple[Float[Tensor, " n"], Float[Tensor, ""]]:
    """Effects of the rows on k_ij, i != j, and the variance of what is left, with n (n - 3) / 2 degrees of freedom."""
    n = len(k)
    others = 1 - torch.eye(n, dtype=k.dtype, device=k.device)
    means = (k * others).sum(dim=1) / (n - 1)
    grand = means.mean()
    effects = (means - grand) * ((n - 1) / (n - 2))
    rest = (k - grand - effects[:, None] - effects[None, :]) * others
    return effects, rest.square().sum() / (n * (n - 3))


def _between(k: Float[Tensor, "n m"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"], Float[Tensor, ""]]:
    """Effects of the rows and of the columns, and the variance of what is left."""
    n, m = k.shape
    rows, columns = k.mean(dim=1), k.mean(dim=0)
    rest = k - rows[:, None] - columns[None, :] + k.mean()
    return rows, columns, rest.square().sum() / ((n - 1) * (m - 1))
