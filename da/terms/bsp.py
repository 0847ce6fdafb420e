"""Batch spectral penalization as a term."""

from jaxtyping import Float
from torch import Tensor

from da.discrepancies.spectrum import bsp
from da.distributed import gather
from da.terms.base import Term
from da.types import Step


class Bsp(Term):
    """Sum over both domains of the k largest squared singular values of the features (BSP, Chen et al. 2019).

    A companion of an adversarial term: it keeps a few directions from carrying all that transfers. The features are
    those of all processes together, not centred, and the sum is not divided by their number, as in the paper: it grows
    with the batch size. Nothing is held constant in backward. ValueError unless 1 <= k <= min(n, m, d).
    """

    def __init__(self, k: int = 1) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = k

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return bsp(gather(step.source.z), self.k) + bsp(gather(step.target.z), self.k)
