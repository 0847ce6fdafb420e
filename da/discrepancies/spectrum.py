"""Singular values and subspaces of clouds of features."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from da.discrepancies.base import Discrepancy


def in_joint_span(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]
) -> tuple[Float[Tensor, "n r"], Float[Tensor, "m r"]]:
    """Both clouds, moved to their common mean, in an orthonormal basis of the span of all rows: r = min(d, n + m).

    For distances that neither a common shift nor a common rotation changes: they stay the same, and d x d matrices
    become r x r. Mean and basis are held constant in backward, and the gradient is exact nevertheless: such a distance
    is a function of the inner products of the rows, so its gradient lies in their span.
    """
    z = torch.cat([z_s, z_t])
    z = z - z.mean(dim=0).detach()
    if len(z) < z.shape[1]:
        z = z @ torch.linalg.qr(z.detach().T).Q
    return z[: len(z_s)], z[len(z_s) :]


def bsp(z: Float[Tensor, "n d"], k: int = 1) -> Float[Tensor, ""]:
    """Sum of the k largest squared singular values of one cloud (batch spectral penalization, Chen et al. 2019).

    A penalty on one domain, not a distance; the paper adds that of the source and that of the target. The features are
    not centred and the sum is not divided by n or d, as in the paper. It is the sum of the k largest eigenvalues of the
    smaller Gram matrix, n x n or d x d; its gradient 2 z P, with P the projector on the k leading right singular
    vectors, divides by nothing. Raises `ValueError` unless 1 <= k <= min(n, d).
    """
    if not 1 <= k <= min(z.shape):
        raise ValueError(f"k must be from 1 to {min(z.shape)} for features of shape {tuple(z.shape)}, got {k}")
    gram = z @ z.T if len(z) < z.shape[1] else z.T @ z
    return torch.linalg.eigvalsh(gram)[-k:].sum()


def _damped_inverse(x: Tensor, width: Tensor) -> Tensor:
    """1 / x for |x| much larger than `width`, 0 at 0: x / (x^2 + width^2)."""
    return x / (x.square() + width.square())


class _Svd(torch.autograd.Function):
    """Thin singular value decomposition a = u diag(s) v^T of [p, q], with a backward that stays finite.

    The derivative of singular vectors divides by singular values and by differences of two; each 1 / x becomes
    x / (x^2 + w^2), w = eps^(3/4) max(s_max, least). Distinct values far above w are not touched, equal ones and zeros
    add nothing. `least` is the size below which all of `a` is rounding noise.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
        u, s, vh = torch.linalg.svd(a, full_matrices=False)
        v = vh.mT.contiguous()
        ctx.save_for_backward(u, s, v)
        ctx.least = least
        return u, s, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_u: Tensor, grad_s: Tensor, grad_v: Tensor) -> tuple[Tensor, None]:
        u, s, v = ctx.saved_tensors
        limits = torch.finfo(s.dtype)
        width = limits.eps**0.75 * s.max().clamp_min(ctx.least)
        width = width.clamp_min(limits.tiny**0.5)  # its square must not vanish
        gaps = _damped_inverse(s[None, :] - s[:, None], width) * _damped_inverse(s[None, :] + s[:, None], width)
        in_u, in_v = u.mT @ grad_u, v.mT @ grad_v
        core = (gaps * (in_u - in_u.mT)) * s[None, :] + s[:, None] * (gaps * (in_v - in_v.mT)) + torch.diag(grad_s)
        inverse = _damped_inverse(s, width)
        out_u, out_v = (grad_u - u @ in_u) * inverse, (grad_v - v @ in_v) * inverse
        return (u @ core + out_u) @ v.mT + u @ out_v.mT, None


def leading_directions(z: Float[Tensor, "n d"], k: int) -> Float[Tensor, "d k"]:
    """Return the k leading right singular vectors of z: an orthonormal basis of the main directions, not centred."""
    u, _, _ = _Svd.apply(z.T, 0.0)
    return u[:, :k]


def rsd(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], num_directions: int | None = None, mismatch: float = 0.1
) -> Float[Tensor, ""]:
    """Representation subspace distance with bases mismatch penalization (Chen et al. 2021).

    sum_i sin(theta_i) + mismatch * | |P_s| - |P_t| |_F^2: theta_i are the principal angles between the spans of the k
    leading right singular vectors U_s and U_t of both clouds, and U_s^T U_t = P_s cos(theta) P_t^T. The authors'
    published program has the norm where this has its square. Features are not centred; their scale has no influence.

    k is `num_directions`, or min(n, m): for n = m the paper's span of all rows, for n != m the larger cloud keeps only
    its k leading directions. 2 k must not exceed d + 1: larger spans meet in several directions, the angle 0 is there
    several times, and P_s and P_t are arbitrary. Raises `ValueError` for a k that is not possible.

    The sines are the singular values of (I - U_s U_s^T) U_t: no 1 - cos^2, which loses half of the digits. Where
    singular values of a cloud are equal or 0 (rank < k) its basis is arbitrary and so is the distance; the gradient is
    finite, by the damped differences of `_Svd`.
    """
    most = min(len(z_s), len(z_t))
    k = most if num_directions is None else num_directions
    if k > most:
        raise ValueError(f"num_directions = {k} needs as many rows, got {len(z_s)} source and {len(z_t)} target rows")
    d = z_s.shape[1]
    if not 1 <= k <= (d + 1) // 2:
        raise ValueError(f"num_directions must be from 1 to {(d + 1) // 2} at width {d}, got {k}")
    u_s, u_t = leading_directions(z_s, k), leading_directions(z_t, k)
    overlap = u_s.T @ u_t
    sines = torch.linalg.svdvals(u_t - u_s @ overlap)
    p_s, _, p_t = _Svd.apply(overlap, 1.0)
    return sines.sum() + mismatch * (p_s.abs() - p_t.abs()).square().sum()


class Rsd(Discrepancy):
    """`rsd` as a module.

    Blind to the scale of a cloud, on purpose: the paper is about regression, where the scale of the features matters.
    """

    identifies = False

    def __init__(self, num_directions: int | None = None, mismatch: float = 0.1) -> None:
        super().__init__()
        if num_directions is not None and num_directions < 1:
            raise ValueError(f"num_directions must be 1 or more, or null for all rows, got {num_directions}")
        if mismatch < 0:
            raise ValueError(f"mismatch must be 0 or more, got {mismatch}")
        self.num_directions, self.mismatch = num_directions, mismatch
        self.min_rows = num_directions or 1

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return rsd(z_s, z_t, self.num_directions, self.mismatch)
