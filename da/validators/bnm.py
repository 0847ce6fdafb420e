"""Nuclear norm of the predictions."""

import torch
from torch import Tensor

from da.validators.base import Seen, Validator


class NuclearNorm(Validator):
    """Nuclear norm of the target predictions P [n, c] over the largest that such a matrix can have.

    |P|_* / sqrt(n min(n, c)): norm and bound are those of Cui et al. 2020 (batch nuclear-norm maximisation); as a
    validator Musgrave et al. 2022, without the division. 1 when every prediction is certain and all classes are
    used equally often, 1 / sqrt(c min(n, c)) when all are uniform.
    """

    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        n, c = seen.p.shape
        return torch.linalg.matrix_norm(seen.p.double(), ord="nuc") / (n * min(n, c)) ** 0.5

    def bounds(self, seen: Seen) -> tuple[float, float]:
        n, c = seen.p.shape
        return (c * min(n, c)) ** -0.5, 1.0
