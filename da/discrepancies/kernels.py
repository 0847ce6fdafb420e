"""Kernels of a squared distance, with their slopes, and the squared length they are measured in.

Each kernel is a function of t = -|x - y|^2 / b <= 0, where b is the bandwidth, a squared length. It returns its value,
summed over the scales s, and, where wanted, its slope dk/dt, which costs a few operations more and saves autograd
from keeping the powers.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import frexp
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Bandwidth = str | float | Sequence[float]
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
ValueAndSlope = tuple[Tensor, Tensor | None]


def squared_distances(x: Float[Tensor, "*k n d"]) -> Float[Tensor, "*k n n"]:
    """Squared Euclidean distances of all pairs of rows, by one Gram matrix: no [n, n, d] tensor.

    The rows are centred first: distances do not change, rounding errors shrink.
    """
    x = x - x.mean(dim=-2, keepdim=True).detach()
    gram = x @ x.mT
    norms = gram.diagonal(dim1=-2, dim2=-1)
    # A pair of equal rows may come out below zero by rounding.
    return (norms[..., :, None] + norms[..., None, :] - 2 * gram).clamp_min(0)


def scales_and_length(scales: Sequence[float], bandwidth: Bandwidth) -> tuple[tuple[float, ...], str | float]:
    """Return the scales and the one bandwidth they multiply: a list of bandwidths is a list of scales of 1.

    ValueError for what is no length.
    """
    if not scales or min(scales) <= 0:
        raise ValueError(f"scales must be positive, got {list(scales)}")
    if isinstance(bandwidth, str):
        if bandwidth in ("mean", "median"):
            return tuple(scales), bandwidth
    elif isinstance(bandwidth, float | int):
        if bandwidth > 0:
            return tuple(scales), float(bandwidth)
    elif bandwidth and min(bandwidth) > 0:
        return tuple(bandwidth), 1.0
    raise ValueError(
        f"bandwidth must be mean, median, a positive number (a squared length) or a list of them, got {bandwidth!r}"
    )


def centred(z_s: Float[Tensor, "*k n d"], z_t: Float[Tensor, "*k m d"]) -> Float[Tensor, "*k n+m d"]:
    """Rows of both clouds minus their common mean, in memory of their own."""
    x = torch.cat([z_s, z_t], dim=-2)
    return x.sub_(x.mean(dim=-2, keepdim=True))


def squared_length(
    x: Float[Tensor, "*k n d"], bandwidth: str | float, norms: Float[Tensor, "*k n"] | None = None
) -> Float[Tensor, "*k"]:
    """The bandwidth b of centred rows: `mean` or `median` of |x_i - x_j|^2 over the pairs i < j, or the given number.

    The mean takes O(n d): it is 2 sum |x_i|^2 / (n - 1). The median takes the [n, n] matrix; of an even number of pairs
    it is the lower one in the middle. b is at least eps^2 times the mean, where rounding has long made every
    distance of two different rows as good as infinite, so that what is divided by b stays finite. `norms` are the
    squared norms of the rows, where they are known.
    """
    norms = torch.linalg.vector_norm(x, dim=-1).square() if norms is None else norms
    n = x.shape[-2]
    mean = norms.sum(dim=-1) * (2 / (n - 1))
    eps, least = torch.finfo(x.dtype).eps, torch.finfo(x.dtype).tiny / torch.finfo(x.dtype).eps
    if bandwidth == "mean":
        return mean.clamp_min(least)  # all rows equal: every distance is 0, whatever it is divided by
    if isinstance(bandwidth, str):  # median
        i, j = torch.triu_indices(n, n, offset=1, device=x.device)
        median = squared_distances(x)[..., i, j].median(dim=-1).values
        return torch.maximum(median, mean * eps**2).clamp_min(least)
    return (mean * eps**2).clamp_min(bandwidth)


def is_power_of_two(ratio: float) -> bool:
    """Whether `ratio` is 1, 2, 4, ..., to the last bit."""
    return ratio >= 1 and frexp(ratio)[0] == 0.5


def gaussian(t: Tensor, scales: Sequence[float], slope: bool) -> ValueAndSlope:
    """Sum over s of exp(t / 2s).

    A scale that is its wider neighbour over a power of 2 costs squarings, not an exponential: exp(t / s) is
    exp(t / 2s)^2. The relative error doubles with each, as it does when t itself carries the error.
    """
    scales = sorted(scales, reverse=True)
    power = torch.exp(t * (0.5 / scales[0]))
    k, dk = power.clone(), power * (0.5 / scales[0]) if slope else None
    for wider, s in pairwise(scales):
        if is_power_of_two(wider / s):
            for _ in range(frexp(wider / s)[1] - 1):
                power.mul_(power)
        else:
            power = torch.exp(t * (0.5 / s))
        k.add_(power)
        if dk is not None:
            dk.add_(power, alpha=0.5 / s)
    return k, dk


def laplacian(t: Tensor, scales: Sequence[float], slope: bool) -> ValueAndSlope:
    """Sum over s of exp(-sqrt(-t / s)): the Euclidean distance, not its square, and not the L1 distance."""
    root = t.neg().sqrt_()
    powers = [torch.exp(root * -(s**-0.5)) for s in scales]
    k = torch.stack(powers).sum(dim=0)
    if not slope:
        return k, None
    dk = torch.stack([power * (0.5 * s**-0.5) for power, s in zip(powers, scales, strict=True)]).sum(dim=0)
    return k, dk.div_(_away_from_zero(root))


def rational_quadratic(t: Tensor, scales: Sequence[float], slope: bool) -> ValueAndSlope:
    """Sum over s of 1 / (1 - t / 2s): Rasmussen & Williams 2006, eq. 4.19, with alpha = 1."""
    parts = [torch.reciprocal(1 - t * (0.5 / s)) for s in scales]
    k = torch.stack(parts).sum(dim=0)
    if not slope:
        return k, None
    return k, torch.stack([part.square() * (0.5 / s) for part, s in zip(parts, scales, strict=True)]).sum(dim=0)


def negative_distance(t: Tensor, scales: Sequence[float], slope: bool) -> ValueAndSlope:
    """Sum over s of -sqrt(-t / s): the kernel of the energy distance, conditionally positive definite."""
    factor = sum(s**-0.5 for s in scales)
    root = t.neg().sqrt_()
    return root * -factor, 0.5 * factor / _away_from_zero(root) if slope else None


def _away_from_zero(root: Tensor) -> Tensor:
    # A distance shorter than this is rounding. The slope grows no further, and is multiplied by x - y = 0.
    return root.clamp_min(torch.finfo(root.dtype).eps ** 0.5)


KERNELS: dict[str, Callable[[Tensor, Sequence[float], bool], ValueAndSlope]] = {
    "gaussian": gaussian,
    "laplacian": laplacian,
    "rational_quadratic": rational_quadratic,
    "negative_distance": negative_distance,
}


class _Apply(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(t: Tensor, name: str, scales: tuple[float, ...]) -> ValueAndSlope:
        return KERNELS[name](t, scales, True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None


def kernel_sum(t: Tensor, name: str, scales: tuple[float, ...]) -> Tensor:
    """The kernel `name` of t <= 0 of any shape, summed over the scales, for autograd."""
    k: Tensor = _Apply.apply(t, name, scales)[0]
    return k
