"""Soft neighbourhood density."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.terms.entropy import entropy
from da.validators.base import Seen, Validator

CHUNK = 1024  # rows of the [n, n] similarity matrix held at a time


def soft_neighbourhood_density(p: Float[Tensor, "n c"], temperature: float) -> Float[Tensor, ""]:
    """Mean entropy of each row's softmax over its cosine similarities with all other rows (Saito et al. 2021, sec. 3).

    High when every row has many near neighbours, that is when target rows form dense clusters.
    """
    p = F.normalize(p, dim=1)
    total = p.new_zeros(())
    for first in range(0, len(p), CHUNK):
        similarity = p[first : first + CHUNK] @ p.T / temperature
        itself = torch.arange(len(similarity), device=p.device)
        # Not -inf: the entropy of a row would be 0 * inf.
        similarity[itself, first + itself] = torch.finfo(p.dtype).min
        total = total + entropy(similarity).sum()
    return total / len(p)


class SoftNeighbourhoodDensity(Validator):
    """`soft_neighbourhood_density` of the target predictions."""

    def __init__(self, temperature: float = 0.05) -> None:
        self.temperature = temperature

    def score(self, seen: Seen) -> Tensor:
        return soft_neighbourhood_density(seen.p, self.temperature)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 0.0, math.log(max(len(seen.target.logits) - 1, 1))
