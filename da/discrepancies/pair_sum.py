"""Weighted sum of a kernel over all pairs of rows of two clouds, and its gradient, by blocks of rows.

The clouds are [n, d], or [K, n, d] for K pairs of clouds at once, which is what `torch.vmap` makes of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from da.discrepancies.kernels import KERNELS, centred, squared_length

CPU_ROWS = 128
"""Rows of a block on a CPU: the three or four matrices that a kernel needs stay in its cache."""
DEVICE_ROWS = 4096
"""Rows of a block elsewhere, where few large operations are faster than many small ones."""


@dataclass(frozen=True)
class PairSum:
    """What is summed: w_s over the pairs of source rows, w_t of target rows, -w_st over each order of a mixed pair."""

    kernel: str
    scales: tuple[float, ...]
    bandwidth: str | float
    w_s: float
    w_t: float
    w_st: float
    chunk_rows: int | None


def _blocks(n: int, total: int, rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of at most `rows` rows: a single one, or none with rows of both domains."""
    for first, last in ((0, total),) if total <= rows else ((0, n), (n, total)):
        for start in range(first, last, rows):
            yield start, min(start + rows, last)


def _weights(x: Tensor, n: int, what: PairSum, block: tuple[int, int]) -> Tensor:
    """w_ij of the block's rows and the columns from its first row on: one row for all where they are of one domain."""
    (start, stop), total = block, x.shape[-2]
    if start >= n:
        return x.new_full((1, total - start), what.w_t)
    w = x.new_full((stop if stop > n else 1, total - start), -what.w_st)
    w[:n, : n - start] = what.w_s
    w[n:, n:] = what.w_t
    return w


def _minus_squared_distances(x: Tensor, norms: Tensor, start: int, stop: int) -> Tensor:
    """-|x_i - x_j|^2 of the rows start <= i < stop and start <= j, 0 where i = j."""
    add_product = torch.addmm if x.ndim == 2 else torch.baddbmm
    rows, others = x[..., start:stop, :], x[..., start:, :]
    t = add_product(norms[..., None, start:], rows, others.mT, beta=-1, alpha=2)
    t.sub_(norms[..., start:stop, None]).clamp_max_(0)
    _diagonal(t).zero_()
    return t


def _diagonal(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a b to the total."""
    if total.ndim == 2:
        total.addmm_(a, b)
    else:
        total.baddbmm_(a, b)


def _add_gradient(grad: Tensor, sums: Tensor, g: Tensor, x: Tensor, block: tuple[int, int], wanted: range) -> None:
    """Add the block's share of (G - diag(G 1)) x to `grad`, in the wanted rows; `sums` is G 1 of the blocks before."""
    start, stop = block
    first, last = max(start, wanted.start), min(stop, wanted.stop)
    if first < last:
        own = _diagonal(g).zero_()
        own.sub_(g.sum(dim=-1)).sub_(sums[..., start:stop])
        _add_product(grad[..., first:last, :], g[..., first - start : last - start, :], x[..., start:, :])
    # The entries right of the diagonal block stand, transposed, for those below it, which are never computed.
    first, last = max(stop, wanted.start), wanted.stop
    if first < last:
        mirrored = g[..., first - start : last - start]
        _add_product(grad[..., first:last, :], mirrored.mT, x[..., start:stop, :])
        sums[..., first:last].add_(mirrored.sum(dim=-2))


def _sum_and_gradient(
    z_s: Tensor, z_t: Tensor, what: PairSum, wanted: range
) -> tuple[Float[Tensor, "*k"], Float[Tensor, "*k n d"] | None]:
    n, total = z_s.shape[-2], z_s.shape[-2] + z_t.shape[-2]
    x = centred(z_s, z_t)
    norms = torch.linalg.vector_norm(x, dim=-1).square()
    inverse = squared_length(x, what.bandwidth, norms).reciprocal()[..., None, None]
    value, grad = x.new_zeros(x.shape[:-2]), torch.zeros_like(x) if wanted else None
    sums = torch.zeros_like(norms)  # of the rows of G
    for start, stop in _blocks(n, total, what.chunk_rows or (CPU_ROWS if x.is_cpu else DEVICE_ROWS)):
        t = _minus_squared_distances(x, norms, start, stop).mul_(inverse)
        k, g = KERNELS[what.kernel](t, what.scales, start < wanted.stop)
        w = _weights(x, n, what, (start, stop))
        k.mul_(w)
        # What lies right of the diagonal block stands for what lies below it, too.
        value = value + k.sum(dim=(-2, -1)) + (k[..., stop - start :].sum(dim=(-2, -1)) if stop < total else 0)
        if grad is not None and g is not None:
            # d/dx_i of sum_ij w_ij k(-|x_i - x_j|^2 / b) is sum_j G_ij (x_j - x_i) with G_ij = 4 w_ij k' / b.
            _add_gradient(grad, sums, g.mul_(w * (4 * inverse)), x, (start, stop), wanted)
    return value, grad


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(z_s: Tensor, z_t: Tensor, what: PairSum, wanted: range) -> tuple[Tensor, Tensor | None]:
        return _sum_and_gradient(z_s, z_t, what, wanted)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor | None]) -> None:
        ctx.n, grad = inputs[0].shape[-2], output[1]
        if grad is not None:
            ctx.mark_non_differentiable(grad)
        ctx.save_for_backward(grad)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad = scale[..., None, None] * ctx.saved_tensors[0]
        grad_s = grad[..., : ctx.n, :] if ctx.needs_input_grad[0] else None
        grad_t = grad[..., ctx.n :, :] if ctx.needs_input_grad[1] else None
        return grad_s, grad_t, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        z_s: Tensor,
        z_t: Tensor,
        what: PairSum,
        wanted: range,
    ) -> tuple[tuple[Tensor, Tensor | None], tuple[int, int | None]]:
        clouds = [
            z.expand(info.batch_size, *z.shape) if dim is None else z.movedim(dim, 0)
            for z, dim in zip((z_s, z_t), in_dims, strict=False)
        ]
        value, grad = _Fused.apply(*clouds, what, wanted)
        return (value, grad), (0, None if grad is None else 0)


def pair_sum(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], what: PairSum) -> Float[Tensor, ""]:
    """Sum of w_ij k(x_i, x_j) over all pairs i, j of the n + m rows, a row with itself included.

    w_ij is w_s between source rows, w_t between target rows, -w_st between a source and a target row; k is summed over
    the scales. Memory: O((n + m) d) and a few blocks of at most [`chunk_rows`, n + m]. A block holds the distances of
    its rows to those from its first one on, so that a pair of rows of different blocks is computed once. The gradient
    is computed with the value, block by block, and only for the clouds that need one; it can not be differentiated
    again. The bandwidth is constant in it.
    """
    n, total = len(z_s), len(z_s) + len(z_t)
    wanted = range(0)
    if torch.is_grad_enabled():
        # Inside torch.vmap no tensor says that it needs a gradient.
        unknown = not (z_s.requires_grad or z_t.requires_grad)
        wanted = range(0 if z_s.requires_grad or unknown else n, total if z_t.requires_grad or unknown else n)
    value: Tensor = _Fused.apply(z_s, z_t, what, wanted)[0]
    return value
