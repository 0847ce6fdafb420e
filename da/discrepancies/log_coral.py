"""Correlation alignment along geodesics: the log-Euclidean distance of covariances."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from da.discrepancies.base import Discrepancy
from da.discrepancies.coral import covariance_factor, require_two_rows
from da.discrepancies.spectrum import in_joint_span


class _Log1p(torch.autograd.Function):
    """log(I + a) of a symmetric a >= 0, [r, r].

    Backward by the divided differences of Daleckii and Krein, written so that equal eigenvalues divide by nothing.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(a)
        values = values.clamp_min(0)  # rounding may push a 0 below
        ctx.save_for_backward(values, vectors)
        return (vectors * values.log1p()) @ vectors.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        low = torch.minimum(values[:, None], values[None, :])
        # (log(1 + high) - log(1 + low)) / (high - low) = log(1 + t) / t / (1 + low), for t = (high - low) / (1 + low)
        t = (values[:, None] - values[None, :]).abs() / (1 + low)
        ratio = torch.where(t > 0, t.log1p() / torch.where(t > 0, t, 1), 1)
        rotated = vectors.mT @ ((grad + grad.mT) / 2) @ vectors
        return vectors @ (rotated * ratio / (1 + low)) @ vectors.mT


def log_coral(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], ridge: float = 1e-3) -> Float[Tensor, ""]:
    """Squared Frobenius distance of the logarithms of the covariances, over 4 d^2.

    |log(C_s + rho I) - log(C_t + rho I)|_F^2 / 4 d^2 with unbiased covariances (Wang et al. 2017, "Deep domain
    adaptation by geodesic distance minimization"; Morerio et al. 2018, "Minimal-entropy correlation alignment"). A
    singular matrix, as every covariance with n <= d is, has no logarithm: rho = ridge * (tr C_s + tr C_t) / 2d, a share
    of the mean variance of both clouds, with a gradient. So a common scale of both clouds has no influence.

    log rho I cancels, which leaves log(I + C / rho): exact in the span of all rows, so the matrices are r x r with
    r = min(d, n + m). Blind to a shift of the mean. Raises `ValueError` for a cloud of one row.
    """
    require_two_rows(z_s, z_t)
    x, y = in_joint_span(z_s, z_t)
    a, b = covariance_factor(x), covariance_factor(y)
    d = z_s.shape[1]
    rho = ridge * (a.square().sum() + b.square().sum()) / (2 * d)
    rho = rho.clamp_min(torch.finfo(z_s.dtype).tiny)  # both clouds constant: 0 divided by anything
    return (_Log1p.apply(a.T @ a / rho) - _Log1p.apply(b.T @ b / rho)).square().sum() / (4 * d**2)


class LogCoral(Discrepancy):
    """`log_coral` as a module."""

    sees_shift = False
    min_rows = 2

    def __init__(self, ridge: float = 1e-3) -> None:
        super().__init__()
        if ridge <= 0:
            raise ValueError(f"ridge must be positive (a share of the mean variance), got {ridge}")
        self.ridge = ridge

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return log_coral(z_s, z_t, self.ridge)
