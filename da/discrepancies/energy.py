"""Energy distance."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.discrepancies.kernels import centred, squared_length
from da.discrepancies.pair_sum import PairSum, pair_sum


def energy_distance(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], chunk_rows: int | None = None
) -> Float[Tensor, ""]:
    """2 E|x - y| - E|x - x'| - E|y - y'| with the Euclidean norm (Szekely & Rizzo 2013, "Energy statistics").

    The V-statistic: means over all pairs, a row with itself included, so never negative, and 0 between a cloud and
    itself. No factor; in the units of the features, so twice the features, twice the distance. It has no bandwidth and
    nothing is held constant in backward, where the slope of |x - y| counts as 0 at x = y. On two samples of one
    distribution its mean is (1/n + 1/m) E|x - x'|, not 0. Memory and `chunk_rows`: see `pair_sum`.
    """
    with torch.no_grad():
        unit = squared_length(centred(z_s, z_t), "mean").sqrt()
    n, m = len(z_s), len(z_t)
    # In units of the root mean squared distance, so that what counts as a coincidence does not depend on the features'.
    what = PairSum("negative_distance", (1.0,), "mean", 1 / n**2, 1 / m**2, 1 / (n * m), chunk_rows)
    return unit * pair_sum(z_s, z_t, what)


class Energy(Discrepancy):
    """`energy_distance` as a module: unmoved by a rotation, a move or a new order of the rows of both clouds."""

    def __init__(self, chunk_rows: int | None = None) -> None:
        super().__init__()
        if chunk_rows is not None and chunk_rows < 1:
            raise ValueError(f"chunk_rows must be 1 or more, or null, got {chunk_rows}")
        self.chunk_rows = chunk_rows

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return energy_distance(z_s, z_t, self.chunk_rows)
