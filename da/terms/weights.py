"""Weights lambda that tune themselves, without a target label.

Each takes the place of a schedule:

da train method=align schedule@method.weights.align=gradient_balance
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from da.distributed import mean_over_ranks
from da.terms.base import AdaptiveWeight
from da.terms.gradients import inner_product, shared_gradients
from da.types import Step


class GradientBalance(AdaptiveWeight):
    """lambda such that |lambda grad D| = `ratio` |grad L_ref| on the features, a moving average over the batches.

    The adaptive weight of Esser et al. 2021 (VQGAN, eq. 7) and GradNorm's aim (Chen et al. 2018) in closed form,
    clamped at `largest`. Where D has no gradient lambda keeps its value, 0 at the start. lambda is constant in
    backward. An adversarial term's gradient includes its reversal, which lambda would undo: give such a
    term a constant reversal.

    Args:
        ratio: of the two norms.
        reference: the term whose gradient is the measure.
        momentum: of the average of log lambda; 0 takes each batch by itself.
    """

    value: Tensor

    def __init__(
        self, ratio: float = 1.0, reference: str = "task", momentum: float = 0.9, largest: float = 1e4
    ) -> None:
        super().__init__()
        if ratio <= 0 or largest <= 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"ratio and largest must be positive and momentum in [0, 1), got ratio={ratio}, largest={largest}, "
                f"momentum={momentum}"
            )
        self.ratio, self.reference, self.momentum, self.largest = ratio, reference, momentum, largest
        self.register_buffer("value", torch.zeros(()))

    def forward(
        self, name: str, parts: Mapping[str, Tensor], step: Step, layers: Sequence[str] = ()
    ) -> Float[Tensor, ""]:
        if self.reference not in parts:
            raise ValueError(f"weights.{name}.reference={self.reference}, but the terms are {sorted(parts)}")
        if self.training and torch.is_grad_enabled():
            gradients = shared_gradients(name, {n: parts[n] for n in (name, self.reference)}, step, layers)
            norm, wanted = (inner_product(gradients[n], gradients[n]).sqrt() for n in (name, self.reference))
            wanted = self.ratio * wanted
            tiny = torch.finfo(norm.dtype).tiny
            now = (wanted.clamp_min(tiny) / norm.clamp_min(tiny)).clamp_max(self.largest).to(self.value.dtype)
            mean = torch.exp(self.momentum * self.value.clamp_min(tiny).log() + (1 - self.momentum) * now.log())
            mean = torch.where(self.value > 0, mean, now)
            self.value.copy_(torch.where(norm > 0, mean, self.value))
        return self.value.to(parts[name].dtype, copy=True)


class Uncertainty(AdaptiveWeight):
    """lambda = exp(-s), with s learned by the optimizer and s added to the loss (Kendall et al. 2018, sec. 3.2).

    At the optimum lambda = 1 / D: a term's weight rises as the term falls, so this is for terms that are
    positive and should matter more once they are small. s = softplus(raw) - log(`largest`): where D reaches 0
    lambda would grow without end, and here goes to `largest`.
    """

    def __init__(self, initial: float = 1.0, largest: float = 100.0) -> None:
        super().__init__()
        if not 0 < initial < largest:
            raise ValueError(f"initial must lie in (0, largest), got initial={initial}, largest={largest}")
        self.largest = largest
        self.raw = nn.Parameter(torch.tensor(math.log(math.expm1(math.log(largest / initial)))))

    def log_variance(self) -> Tensor:
        """The learned s."""
        return F.softplus(self.raw) - math.log(self.largest)

    def forward(
        self, name: str, parts: Mapping[str, Tensor], step: Step, layers: Sequence[str] = ()
    ) -> Float[Tensor, ""]:
        return torch.exp(-self.log_variance())

    def cost(self) -> Tensor:
        return self.log_variance()


class Constraint(AdaptiveWeight):
    """lambda that drives the term below `epsilon`: min L_S subject to D <= epsilon, by dual ascent.

    lambda <- max(0, lambda + rate (D - epsilon)) after each batch (Bertsekas 1999, sec. 6.2: the multiplier's
    gradient step): it grows while D is too large, and falls back once D is small enough. D is the mean over
    the processes. lambda is constant in backward, and at most `largest`.
    """

    value: Tensor

    def __init__(self, epsilon: float, rate: float = 0.1, initial: float = 0.0, largest: float = 1e4) -> None:
        super().__init__()
        if rate <= 0 or not 0 <= initial <= largest:
            raise ValueError(
                f"rate must be positive and initial in [0, largest], got rate={rate}, initial={initial}, "
                f"largest={largest}"
            )
        self.epsilon, self.rate, self.largest = epsilon, rate, largest
        self.register_buffer("value", torch.tensor(float(initial)))

    def forward(
        self, name: str, parts: Mapping[str, Tensor], step: Step, layers: Sequence[str] = ()
    ) -> Float[Tensor, ""]:
        now = self.value.to(parts[name].dtype, copy=True)
        if self.training and torch.is_grad_enabled():
            excess = mean_over_ranks(parts[name].detach()) - self.epsilon
            self.value.add_(self.rate * excess.to(self.value.dtype)).clamp_(0.0, self.largest)
        return now
