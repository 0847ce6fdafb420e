"""Effective rank of the features."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.validators.base import Seen, Validator


def effective_rank(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """Exp of the entropy of the singular values over their sum (Garrido et al. 2023, RankMe, eq. 1); 1 of zeros.

    The features are not centred, as there. Without the 1e-7 that the paper adds to each share so that it has a
    logarithm: 0 log 0 is 0.
    """
    values = torch.linalg.svdvals(z.double())
    shares = values / values.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return torch.special.entr(shares).sum().exp()


class RankMe(Validator):
    """`effective_rank` of the target features. It looks at no prediction: a head that collapsed goes unseen."""

    def score(self, seen: Seen) -> Tensor:
        return effective_rank(seen.target.z)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 1.0, float(max(min(seen.target.z.shape), 1))
