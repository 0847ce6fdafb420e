"""Distances between the Gaussians fitted to two clouds."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.discrepancies.coral import covariance_factor, require_two_rows
from da.discrepancies.linear import mean_distance
from da.discrepancies.spectrum import in_joint_span


def jeffreys(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], ridge: float = 1e-2) -> Float[Tensor, ""]:
    """Jeffreys divergence KL(s || t) + KL(t || s) of the fitted Gaussians: the sum, not half of it (Jeffreys 1946).

    With S = C_s + rho I, T = C_t + rho I and delta the difference of the means it is
    1/2 [tr S^-1 T + tr T^-1 S - 2 d + delta^T (S^-1 + T^-1) delta], here written as a sum of squares that is never
    negative: the traces minus 2 d are |L_s^-1 (C_s - C_t) L_t^-T|_F^2 for the Cholesky factors L_s and L_t.

    C_s and C_t are unbiased; rho = ridge * tr(M) / d for the covariance M = (C_s + C_t) / 2 + delta delta^T / 4 of both
    Gaussians in equal parts, with a gradient: without it the divergence is infinite for n <= d. It follows that a
    common scale has no influence and that a shift cannot add more than 4 d / ridge. Computed in the span of all rows,
    where the matrices are r x r, r = min(d, n + m); exact. Raises `ValueError` for a cloud of one row.
    """
    require_two_rows(z_s, z_t)
    x, y = in_joint_span(z_s, z_t)
    a, b = covariance_factor(x), covariance_factor(y)
    delta = (x.mean(dim=0) - y.mean(dim=0))[:, None]
    spread = (a.square().sum() + b.square().sum()) / 2 + delta.square().sum() / 4
    # all rows equal: each difference is 0, whatever it is divided by
    rho = (ridge * spread / z_s.shape[1]).clamp_min(torch.finfo(z_s.dtype).tiny)
    c_s, c_t = a.T @ a, b.T @ b
    identity = torch.eye(len(c_s), dtype=c_s.dtype, device=c_s.device)
    l_s, l_t = torch.linalg.cholesky(c_s + rho * identity), torch.linalg.cholesky(c_t + rho * identity)
    half = torch.linalg.solve_triangular(l_s, torch.cat([c_s - c_t, delta], dim=1), upper=False)
    whole = torch.linalg.solve_triangular(l_t, torch.cat([half[:, :-1].T, delta], dim=1), upper=False)
    return (whole.square().sum() + half[:, -1].square().sum()) / 2


def _with_few_rows(a: Float[Tensor, "n d"]) -> Float[Tensor, "k d"]:
    """Return at most d rows that have the same a^T a, by a rotation that is held constant."""
    return a if len(a) <= a.shape[1] else torch.linalg.qr(a.detach()).Q.T @ a


def frechet(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Squared Frechet distance, W_2^2, of the fitted Gaussians (Dowson & Landau 1982).

    |delta|^2 + tr(C_s + C_t - 2 (C_s^1/2 C_t C_s^1/2)^1/2) with unbiased covariances and the difference delta of the
    means. No matrix root is taken: for A^T A = C_s and B^T B = C_t the trace is the least |A - P B|_F^2 over all P with
    orthonormal columns, attained by the polar factor of A B^T. So singular covariances need no ridge, the result is
    never negative, and it is exact to rounding for equal clouds.

    P is held constant in backward, and as it is a minimum the gradient is exact. Where one covariance has rank in
    directions that the other lacks altogether the root has a kink, and the gradient is one of several. Raises
    `ValueError` for a cloud of one row.
    """
    require_two_rows(z_s, z_t)
    a, b = _with_few_rows(covariance_factor(z_s)), _with_few_rows(covariance_factor(z_t))
    if len(a) < len(b):
        a, b = b, a
    u, _, vh = torch.linalg.svd((a @ b.T).detach(), full_matrices=False)
    return mean_distance(z_s, z_t) + (a - u @ vh @ b).square().sum()


class Jeffreys(Discrepancy):
    """`jeffreys` as a module."""

    min_rows = 2

    def __init__(self, ridge: float = 1e-2) -> None:
        super().__init__()
        if ridge <= 0:
            raise ValueError(f"ridge must be positive (a share of the mean variance), got {ridge}")
        self.ridge = ridge

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return jeffreys(z_s, z_t, self.ridge)


class Frechet(Discrepancy):
    """`frechet` as a module."""

    min_rows = 2

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return frechet(z_s, z_t)
