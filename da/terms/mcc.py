"""Minimum class confusion, and its consistency over two views."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from da.distributed import gather
from da.terms.base import Term
from da.types import Step


def confusion_matrix(
    logits: Float[Tensor, "n c"], temperature: float, kept: Bool[Tensor, " n"] | None = None
) -> Float[Tensor, "c c"]:
    """Probability that class j is confused with class k, each row of sum 1 (Jin et al. 2020).

    Rows are weighed by 1 + exp(-H) of their tempered prediction, normalised to mean 1 and held constant
    in backward, as in the authors' code. Only the rows `kept` count, all if none are named. A class with no
    probability in any of them has a row of zeros.
    """
    log_p = (logits / temperature).log_softmax(dim=1)
    p = log_p.exp()
    weights = 1 + torch.exp((p.detach() * log_p.detach()).sum(dim=1))
    if kept is not None:
        weights = weights * kept
    n = len(logits)
    floor = torch.finfo(p.dtype).tiny ** 0.5  # 0 / 0, and the overflow of 1 / 1e-38 in backward
    confusion = (p * (n * weights / weights.sum().clamp_min(floor)).unsqueeze(1)).T @ p
    mass = confusion.sum(dim=1, keepdim=True)
    return confusion / torch.where(mass > floor, mass, 1.0)


def class_confusion(logits: Float[Tensor, "n c"], temperature: float) -> Float[Tensor, ""]:
    """Mean over the classes of the probability that one class is confused with another (Jin et al. 2020, eq. 2-6).

    The weights of the rows are held constant in backward: see `confusion_matrix`.
    """
    # each row sums to 1, so what is off the diagonal is c - trace
    return 1 - confusion_matrix(logits, temperature).trace() / logits.shape[1]


def _check(temperature: float) -> float:
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    return temperature


class Mcc(Term):
    """`class_confusion` of the target predictions of all processes together."""

    streams = frozenset({"target"})

    def __init__(self, temperature: float = 2.5) -> None:
        super().__init__()
        self.temperature = _check(temperature)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return class_confusion(gather(step.target.logits), self.temperature)


class ConfusionConsistency(Term):
    """r |C_w - C_s|_F^2 / c: the class confusion matrices of a weak and a strong view of the same target rows agree.

    The consistency part of CC-Loss (Jin et al. 2024, "One Fits Many", IEEE TPAMI), as the authors' code in tllib
    (`CCConsistency`) computes it: only rows whose largest tempered probability in the weak view is `threshold` or more
    count, in both views, and r is their fraction. The whole CC-Loss is this plus `Mcc`. Over the batch of all
    processes. The weak view `target` and the weights of the rows are held constant in backward. Measures: `kept`, r.
    """

    streams = frozenset({"target", "target_strong"})
    constant_streams = frozenset({"target"})

    def __init__(self, temperature: float = 2.5, threshold: float = 0.95) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        self.temperature, self.threshold = _check(temperature), threshold

    def forward(self, step: Step) -> Float[Tensor, ""]:
        weak = gather(step.target.logits.detach())
        strong = gather(step.streams["target_strong"].logits)
        kept = (weak / self.temperature).softmax(dim=1).amax(dim=1) >= self.threshold
        fraction = kept.to(weak.dtype).mean()
        self.measures = {"kept": fraction}
        gap = confusion_matrix(weak, self.temperature, kept) - confusion_matrix(strong, self.temperature, kept)
        return fraction * gap.square().sum() / weak.shape[1]
