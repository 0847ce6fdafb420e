"""Maximum mean discrepancy."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.discrepancies.kernels import SCALES, Bandwidth, centred, kernel_sum, scales_and_length, squared_length
from da.discrepancies.linear import mean_distance
from da.discrepancies.pair_sum import PairSum, pair_sum

ESTIMATORS = ("biased", "unbiased", "linear", "block")
MMD_KERNELS = ("gaussian", "laplacian", "rational_quadratic", "linear")


def mmd2(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    scales: Sequence[float] = SCALES,
    bandwidth: Bandwidth = "mean",
    estimator: str = "biased",
    kernel: str = "gaussian",
    block_size: int | None = None,
    chunk_rows: int | None = None,
) -> Float[Tensor, ""]:
    """Estimate of MMD^2 under a mean of kernels (Gretton et al. 2012, JMLR 13; several kernels: DAN, Long et al. 2015).

    The kernel is the mean over the scales s of
    gaussian: exp(-|x - y|^2 / (2 s b)); laplacian: exp(-|x - y| / sqrt(s b)), of the Euclidean distance, not of the L1;
    rational_quadratic: 1 / (1 + |x - y|^2 / (2 s b)); linear: x . y, on which neither `scales` nor `bandwidth` acts.
    The `bandwidth` b is a squared length, taken from all n + m rows and held constant in backward: the `mean` of the
    squared distances over the pairs i < j, or their `median` (which needs the whole matrix in memory), or a number.
    A list of numbers stands for the products s b, one per kernel, whatever the scales are.

    The estimators, none with a further factor; all but the biased one can be negative:
    - biased (eq. 5): means over all pairs, a row with itself included.
    - unbiased (eq. 3): the pairs of a row with itself are left out. n and m must be 2 or more.
    - block (B-test, Zaremba et al. 2013): the mean over blocks of B = `block_size` neighbouring rows of the mean over
      i != j of h = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i). It pairs rows: only the first min(n, m) of
      each cloud are used, and of those only whole blocks. B = None is their choice, the root of min(n, m), 2 at least.
    - linear (section 6, the linear-time statistic): blocks of 2. Cheap, and far noisier than the others.

    `chunk_rows` bounds the memory of the first two (`pair_sum`) and leaves the value as it is. Their gradient comes
    with the value and can not be differentiated again. ValueError for what is no estimator, kernel or length, and for
    too few rows.
    """
    _check_names(estimator, kernel)
    scales, bandwidth = scales_and_length(scales, bandwidth)
    if estimator in ("linear", "block"):
        size = 2 if estimator == "linear" else block_size or max(int(min(len(z_s), len(z_t)) ** 0.5), 2)
        _need_rows(z_s, z_t, size, estimator)
        with torch.no_grad():
            b = squared_length(centred(z_s, z_t), bandwidth)
        return _block_mean(z_s, z_t, size, kernel, scales, b)
    n, m, left_out = len(z_s), len(z_t), int(estimator == "unbiased")
    _need_rows(z_s, z_t, 1 + left_out, estimator)
    if kernel == "linear":
        return mean_distance(z_s, z_t) - left_out * (_mean_variance(z_s) + _mean_variance(z_t))
    k = len(scales)
    w_s, w_t, w_st = 1 / (k * n * (n - left_out)), 1 / (k * m * (m - left_out)), 1 / (k * n * m)
    value = pair_sum(z_s, z_t, PairSum(kernel, scales, bandwidth, w_s, w_t, w_st, chunk_rows))
    # k(x, x) = 1, n + m times: what the sum over all pairs has too much.
    return value - (1 / (n - 1) + 1 / (m - 1)) if left_out else value


def _check_names(estimator: str, kernel: str) -> None:
    for option, value, known in (("estimator", estimator, ESTIMATORS), ("kernel", kernel, MMD_KERNELS)):
        if value not in known:
            raise ValueError(f"{option} must be one of {', '.join(known)}, got {value!r}")


def _need_rows(z_s: Tensor, z_t: Tensor, least: int, estimator: str) -> None:
    n, m = len(z_s), len(z_t)
    if min(n, m) < least:
        raise ValueError(f"estimator={estimator} needs {least} rows of each domain, got {n} source and {m} target rows")


def _mean_variance(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """By how much |mean z|^2 exceeds the mean of z_i . z_j over i != j."""
    return z.var(dim=0).sum() / len(z)


def _block_mean(
    z_s: Tensor, z_t: Tensor, size: int, kernel: str, scales: tuple[float, ...], b: Tensor
) -> Float[Tensor, ""]:
    blocks = min(len(z_s), len(z_t)) // size
    z = torch.cat([cloud[: blocks * size].unflatten(0, (blocks, size)) for cloud in (z_s, z_t)], dim=1)
    z = z - z.mean(dim=(0, 1)).detach()  # shrinks rounding errors, and h does not see it
    k = z @ z.mT
    if kernel != "linear":
        norms = k.diagonal(dim1=1, dim2=2)
        t = (2 * k - norms[:, :, None] - norms[:, None, :]).clamp_max(0) / b
        k = kernel_sum(t, kernel, scales) / len(scales)
    sign = torch.cat([k.new_ones(size), -k.new_ones(size)])
    others = 1 - torch.eye(size, dtype=k.dtype, device=k.device).repeat(2, 2)
    return (k * (sign[:, None] * sign * others)).sum() / (blocks * size * (size - 1))


class Mmd(Discrepancy):
    """`mmd2` as a module.

    D(x, x) = 0 for the biased estimator, whose mean on two samples of one distribution is (1/n + 1/m)(1 - mean k), not
    0. It is the other way round for the unbiased one: its mean is 0, but D(x, x) = -(2/n)(1 - mean k), the mean over
    i != j. The linear and the block estimator have both, and depend on the order of the rows.
    """

    def __init__(
        self,
        estimator: str = "biased",
        kernel: str = "gaussian",
        scales: Sequence[float] = SCALES,
        bandwidth: Bandwidth = "mean",
        block_size: int | None = None,
        chunk_rows: int | None = None,
    ) -> None:
        super().__init__()
        _check_names(estimator, kernel)
        if block_size is not None and (estimator != "block" or block_size < 2):
            raise ValueError(f"block_size must be 2 or more, with estimator=block, got {block_size} with {estimator}")
        if chunk_rows is not None and (estimator not in ("biased", "unbiased") or chunk_rows < 1):
            raise ValueError(
                f"chunk_rows must be 1 or more, with estimator=biased or unbiased, got {chunk_rows} with {estimator}"
            )
        scales_and_length(scales, bandwidth)
        self.estimator, self.kernel = estimator, kernel
        self.scales, self.bandwidth = tuple(scales), bandwidth
        self.block_size, self.chunk_rows = block_size, chunk_rows
        self.zero_at_equality = estimator != "unbiased"
        self.order_invariant = estimator in ("biased", "unbiased")
        self.min_rows = {"biased": 1, "block": block_size or 2}.get(estimator, 2)

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return mmd2(
            z_s, z_t, self.scales, self.bandwidth, self.estimator, self.kernel, self.block_size, self.chunk_rows
        )
