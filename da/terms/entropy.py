"""Entropy and diversity of the target predictions."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.distributed import gather
from da.terms.base import Term
from da.types import Step


def entropy(logits: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
    """Entropy of each row's softmax, in nats."""
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


class Entropy(Term):
    """Mean entropy of the target predictions: low when each one is confident (Grandvalet & Bengio 2004)."""

    streams = frozenset({"target"})

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return entropy(step.target.logits).mean()


class Diversity(Term):
    """Negative entropy of the mean prediction: low when all classes are used (SHOT, Liang et al. 2020, eq. 3)."""

    streams = frozenset({"target"})

    def forward(self, step: Step) -> Float[Tensor, ""]:
        mean = gather(step.target.logits.softmax(dim=1)).mean(dim=0)
        return -torch.special.entr(mean).sum()
