"""Correlation alignment."""

from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.discrepancies.linear import mean_distance


def require_two_rows(z_s: Tensor, z_t: Tensor) -> None:
    """Raise `ValueError` where a cloud is too small to have a covariance."""
    if min(len(z_s), len(z_t)) < 2:
        raise ValueError(f"a covariance needs at least 2 rows, got {len(z_s)} source and {len(z_t)} target rows")


def covariance(z: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Unbiased covariance matrix, divided by n - 1."""
    centred = z - z.mean(dim=0)
    return centred.T @ centred / (len(z) - 1)


def covariance_factor(z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return A with A^T A = C, the unbiased covariance: the centred rows over sqrt(n - 1)."""
    return (z - z.mean(dim=0)) / (len(z) - 1) ** 0.5


def clip_at_zero(value: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Lift to 0 a value that rounding pushed below; the gradient passes as if nothing had happened.

    For a distance that is a difference of large numbers: near 0 its value is rounding noise, its gradient is not.
    """
    return value + (value.clamp_min(0) - value).detach()


def covariance_distance(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Squared Frobenius distance of the unbiased covariances, |C_s - C_t|_F^2.

    With fewer rows than columns, n + m < d, no d x d matrix is made: for A^T A = C_s and B^T B = C_t the distance is
    |A A^T|^2 - 2 |A B^T|^2 + |B B^T|^2, at a cost of d (n^2 + nm + m^2) instead of d^2 (n + m). That is a difference of
    large numbers: a distance below about 1e-6 (|C_s|^2 + |C_t|^2) is rounding noise in float32, never below 0. The
    gradient is as exact as the other way. Raises `ValueError` for a cloud of one row.
    """
    require_two_rows(z_s, z_t)
    if len(z_s) + len(z_t) >= z_s.shape[1]:
        return (covariance(z_s) - covariance(z_t)).square().sum()
    a, b = covariance_factor(z_s), covariance_factor(z_t)
    within = (a @ a.T).square().sum() + (b @ b.T).square().sum()
    return clip_at_zero(within - 2 * (a @ b.T).square().sum())


def coral(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """`covariance_distance` over 4 d^2 (Sun & Saenko 2016, eq. 1-3).

    Blind to a shift of the mean, as in the paper. Both n and m must be 2 or more.
    """
    return covariance_distance(z_s, z_t) / (4 * z_s.shape[1] ** 2)


def coral_mean(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Mean squared difference of the means plus mean squared difference of the covariances.

    |mu_s - mu_t|^2 / d + |C_s - C_t|_F^2 / d^2: what DomainBed, WILDS and the Transfer-Learning-Library call CORAL. The
    second summand is four times `coral`; the first is in no equation of the paper. Both n and m must be 2 or more.
    """
    d = z_s.shape[1]
    return mean_distance(z_s, z_t) / d + covariance_distance(z_s, z_t) / d**2


class Coral(Discrepancy):
    """`coral` as a module."""

    sees_shift = False
    min_rows = 2

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return coral(z_s, z_t)


class CoralMean(Discrepancy):
    """`coral_mean` as a module."""

    min_rows = 2

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return coral_mean(z_s, z_t)
