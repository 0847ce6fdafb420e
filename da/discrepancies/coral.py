"""Correlation alignment."""

from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy


def covariance(z: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Unbiased covariance matrix, divided by n - 1."""
    centred = z - z.mean(dim=0)
    return centred.T @ centred / (len(z) - 1)


def coral(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Squared Frobenius distance of the covariances over 4 d^2 (Sun & Saenko 2016, eq. 1-3).

    Blind to a shift of the mean, as in the paper. Both n and m must be 2 or more.
    """
    if min(len(z_s), len(z_t)) < 2:
        raise ValueError(f"a covariance needs at least 2 rows, got {len(z_s)} source and {len(z_t)} target rows")
    return (covariance(z_s) - covariance(z_t)).square().sum() / (4 * z_s.shape[1] ** 2)


class Coral(Discrepancy):
    """`coral` as a module."""

    sees_shift = False
    min_rows = 2

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return coral(z_s, z_t)
