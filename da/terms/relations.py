"""Relations of rows: their distances, and the angles of triplets."""

import torch
from jaxtyping import Float
from torch import Tensor


def relative_distances(z: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Distances of the rows divided by their mean over the pairs of different rows; all 0 where all rows are equal.

    Each is a sum over the differences, with no [n, n, d] tensor: the way by inner products loses the small ones
    to rounding, and those are what the angles are made of.
    """
    n = len(z)
    distances = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / max(n * (n - 1), 1)
    return distances / torch.where(mean > 0, mean, 1.0)


def cosines(distances: Float[Tensor, "n n"]) -> Float[Tensor, "n n n"]:
    """Cosine of the angle at row j between rows i and k, as [j, i, k], by the law of cosines.

    (a^2 + b^2 - c^2) / 2ab, c across from j; 0 where i or k lies on j and there is no angle. The rounding error grows
    with the ratio of the legs a and b, not with the distance from the origin.
    """
    a, b, c = distances.unsqueeze(2), distances.unsqueeze(1), distances.unsqueeze(0)
    legs = a * b
    is_angle = legs > 0
    return (a.square() + (b - c) * (b + c)) / (2 * torch.where(is_angle, legs, 1.0)) * is_angle
