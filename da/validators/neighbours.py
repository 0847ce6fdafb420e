"""Agreement of predictions with what lies near, in the features."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from da.transfer.probes import knn_accuracy
from da.validators.base import BOTH, Seen, Validator

CHUNK = 1024  # rows of the matrix of distances held at a time
TIE = 1e-12  # of the mean squared length: distances that differ by less are equal, the rest is rounding


def nearest_agreement(
    z_t: Float[Tensor, "m d"], predicted: Int[Tensor, " m"], z_s: Float[Tensor, "n d"], y: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Share of the rows `z_t` that are predicted to be of the class of the nearest row (Euclidean) of `z_s`.

    Where several are equally near, the share of those with that class: so features on one point are near to all.
    """
    middle = torch.cat([z_s, z_t]).mean(dim=0)  # shrinks rounding errors
    z_s, z_t = z_s - middle, z_t - middle
    tie = TIE * torch.cat([z_s, z_t]).square().sum(dim=1).mean()
    total = z_t.new_zeros(())
    for rows, classes in zip(z_t.split(CHUNK), predicted.split(CHUNK), strict=True):
        squares = z_s.square().sum(dim=1) - 2 * rows @ z_s.T  # but for |rows|^2, the same for all rows of the source
        near = squares <= squares.amin(dim=1, keepdim=True) + tie
        total = total + ((near & (classes[:, None] == y)).sum(dim=1) / near.sum(dim=1)).sum()
    return total / len(z_t)


class NearestSource(Validator):
    """`nearest_agreement` of the target predictions with the labels of held-out source rows.

    The labels spread from the source to the nearest target row, so it means little until the domains overlap. The
    validator of this name in pytorch-adapt (Musgrave et al. 2022) is another one: it asks whether the nearest source
    row is predicted right. NaN where the domains have different numbers of classes.
    """

    reads = BOTH
    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        source = seen.need_source()
        if not seen.same_classes:
            return torch.tensor(math.nan)
        return nearest_agreement(seen.target.z.double(), seen.predicted, source.z.double(), source.y)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 0.0, 1.0


class KnnAgreement(Validator):
    """Share of target rows predicted to be what most of their k nearest other target rows are predicted to be.

    `da.transfer.probes.knn_accuracy` of the predictions: Euclidean in the features; of equally many the smaller class;
    NaN for a single row. From no paper. Predictions that are all the same agree.

    Args:
        k: neighbours; no more than there are other rows.
    """

    def __init__(self, k: int = 5) -> None:
        self.k = k

    def score(self, seen: Seen) -> Tensor:
        k = min(self.k, len(seen.target.z) - 1)
        return torch.tensor(knn_accuracy(seen.target.z.cpu(), seen.predicted.cpu(), k) if k > 0 else math.nan)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 0.0, 1.0
