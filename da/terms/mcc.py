"""Minimum class confusion."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.distributed import gather
from da.terms.base import Term
from da.terms.entropy import entropy
from da.types import Step


def class_confusion(logits: Float[Tensor, "n c"], temperature: float) -> Float[Tensor, ""]:
    """Mean over the classes of the probability that one class is confused with another (Jin et al. 2020, eq. 2-6).

    Rows are weighed by 1 + exp(-H) of their tempered prediction, normalised to mean 1 and held constant
    in backward, as in the authors' code.
    """
    n, c = logits.shape
    logits = logits / temperature
    p = logits.softmax(dim=1)
    weights = 1 + torch.exp(-entropy(logits.detach()))
    confusion = (p * (n * weights / weights.sum()).unsqueeze(1)).T @ p
    confusion = confusion / confusion.sum(dim=1, keepdim=True)
    return 1 - confusion.trace() / c  # each row sums to 1, so what is off the diagonal is c - trace


class Mcc(Term):
    """`class_confusion` of the target predictions of all processes together."""

    streams = frozenset({"target"})

    def __init__(self, temperature: float = 2.5) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return class_confusion(gather(step.target.logits), self.temperature)
