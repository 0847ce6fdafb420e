"""F = F1 (+) F2: two branches' features made one, by an operator of your choice.

Every operator is built from the widths d1 and d2 and works on vectors, [n, d1] and [n, d2], and on maps with the same
positions, [n, d1, h, w] and [n, d2, h, w]: a linear map of the channels is then a 1x1 convolution.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Pointwise(nn.Linear):
    """A linear map of the channels, the same at every position: [n, a, ...] -> [n, b, ...]."""

    def forward(self, x: Float[Tensor, "n a *positions"]) -> Float[Tensor, "n b *positions"]:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class FusionOperator(nn.Module, ABC):
    """F1 [n, d1, ...] and F2 [n, d2, ...] -> F [n, out_dim, ...].

    Raises ValueError, naming the shapes, for other widths and for maps that do not have the same positions.
    """

    any_positions = False
    """Whether F2 may have positions of its own, or none."""

    def __init__(self, d1: int, d2: int, out_dim: int) -> None:
        super().__init__()
        self.d1, self.d2, self.out_dim = d1, d2, out_dim

    @abstractmethod
    def fuse(self, f1: Tensor, f2: Tensor) -> Tensor:
        """Return F; the shapes are as they should be."""

    def forward(self, f1: Float[Tensor, "n ..."], f2: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        fits = f1.shape[1] == self.d1 and f2.shape[1] == self.d2
        if not fits or (f1.shape[2:] != f2.shape[2:] and not self.any_positions):
            raise ValueError(
                f"{type(self).__name__} fuses [n, {self.d1}, ...] and [n, {self.d2}, ...] at the same positions, "
                f"got F1 {list(f1.shape)} and F2 {list(f2.shape)}"
            )
        return self.fuse(f1, f2)


class Sum(FusionOperator):
    """F1 + P F2. P is a learned linear map d2 -> d1, or nothing where both have one width."""

    def __init__(self, d1: int, d2: int) -> None:
        super().__init__(d1, d2, d1)
        self.project = _projection(d2, d1)

    def fuse(self, f1: Tensor, f2: Tensor) -> Tensor:
        return f1 + self.project(f2)


class Concatenation(FusionOperator):
    """[F1; F2], of width d1 + d2."""

    def __init__(self, d1: int, d2: int) -> None:
        super().__init__(d1, d2, d1 + d2)

    def fuse(self, f1: Tensor, f2: Tensor) -> Tensor:
        return torch.cat([f1, f2], dim=1)


class Gate(FusionOperator):
    """g F1 + (1 - g) P F2 element by element, with g = sigmoid(W [F1; P F2] + b): the unit of Arevalo et al. 2017.

    P is as in `Sum`. W starts at 0 and b where g is `start` everywhere. ValueError unless that is between 0 and 1.
    """

    def __init__(self, d1: int, d2: int, start: float = 0.9) -> None:
        super().__init__(d1, d2, d1)
        self.project, self.gate = _projection(d2, d1), _zeroed(Pointwise(2 * d1, d1))
        nn.init.constant_(self.gate.bias, _logit(start))

    def fuse(self, f1: Tensor, f2: Tensor) -> Tensor:
        f2 = self.project(f2)
        g = self.gate(torch.cat([f1, f2], dim=1)).sigmoid()
        return f2 + g * (f1 - f2)


class Attention(FusionOperator):
    """a_1 F1 + a_2 P F2, with (a_1, a_2) = softmax(W [F1; P F2] + b): two weights a row, and in maps a position.

    P is as in `Sum`. W starts at 0 and b where a_1 is `start` everywhere. ValueError unless that is between 0 and 1.
    """

    def __init__(self, d1: int, d2: int, start: float = 0.9) -> None:
        super().__init__(d1, d2, d1)
        self.project, self.score = _projection(d2, d1), _zeroed(Pointwise(2 * d1, 2))
        nn.init.constant_(self.score.bias[:1], _logit(start))

    def fuse(self, f1: Tensor, f2: Tensor) -> Tensor:
        f2 = self.project(f2)
        a = self.score(torch.cat([f1, f2], dim=1)).softmax(dim=1)
        return a[:, :1] * f1 + a[:, 1:] * f2


class Conv1x1(FusionOperator):
    """W [F1; F2] + b, of width d1: in maps a 1x1 convolution. W starts as [identity, 0] and b as 0, so that F = F1."""

    def __init__(self, d1: int, d2: int) -> None:
        super().__init__(d1, d2, d1)
        self.mix = Pointwise(d1 + d2, d1)
        nn.init.eye_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def fuse(self, f1: Tensor, f2: Tensor) -> Tensor:
        mixed: Tensor = self.mix(torch.cat([f1, f2], dim=1))
        return mixed


class Film(FusionOperator):
    """(1 + s(F2)) F1 + t(F2), a scale and a shift of each channel of F1 (FiLM, Perez et al. 2018).

    s and t are linear in F2, averaged over its positions if it has any, and start at 0, so that F = F1.
    """

    any_positions = True

    def __init__(self, d1: int, d2: int) -> None:
        super().__init__(d1, d2, d1)
        self.modulate = _zeroed(nn.Linear(d2, 2 * d1))

    def fuse(self, f1: Tensor, f2: Tensor) -> Tensor:
        modulation = self.modulate(mean_over_positions(f2))
        scale, shift = modulation.view(*modulation.shape, *[1] * (f1.dim() - 2)).chunk(2, dim=1)
        return f1 + scale * f1 + shift


class ResidualAdapter(FusionOperator):
    """F1 + A(F2), in the form of residual adapters (Rebuffi et al. 2017, 2018): A starts at 0, so that F = F1.

    Without a trained branch F2 is F1, and A is all that learns. A is two 1x1 convolutions of width d1 / `reduction`
    with a ReLU between them, where the papers have one inside each block: a linear A behind the last block would
    add nothing to a linear layer after it.
    """

    def __init__(self, d1: int, d2: int, reduction: int = 4) -> None:
        super().__init__(d1, d2, d1)
        if reduction < 1:
            raise ValueError(f"reduction={reduction} must be at least 1")
        width = max(d1 // reduction, 1)
        self.adapter = nn.Sequential(Pointwise(d2, width), nn.ReLU(), _zeroed(Pointwise(width, d1)))

    def fuse(self, f1: Tensor, f2: Tensor) -> Tensor:
        return f1 + self.adapter(f2)


def mean_over_positions(f: Float[Tensor, "n d *positions"]) -> Float[Tensor, "n d"]:
    """Return the mean of a map over its positions; a vector as it is."""
    return f.flatten(2).mean(dim=2) if f.dim() > 2 else f


def _projection(a: int, b: int) -> nn.Module:
    return nn.Identity() if a == b else Pointwise(a, b, bias=False)


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _logit(start: float) -> float:
    if not 0 < start < 1:
        raise ValueError(f"start={start}, the share of F1 at the start, must lie between 0 and 1")
    return math.log(start / (1 - start))
