"""Weights, reversal strengths and learning rates as functions of training progress p in [0, 1].

A schedule is a pure function of p: it has no state to save, and a resumed run continues it exactly.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[float], float]


@dataclass(frozen=True)
class Constant:
    """`value` throughout."""

    value: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class Linear:
    """A straight line from `low` at p=0 to `high` at p=1."""

    low: float = 0.0
    high: float = 1.0

    def __call__(self, progress: float) -> float:
        return self.low + (self.high - self.low) * progress


@dataclass(frozen=True)
class Ramp:
    """Sigmoid rise high * (2 / (1 + exp(-gamma p)) - 1), 0 to almost `high` (DANN, Ganin et al. 2016, sec. 5.2)."""

    high: float = 1.0
    gamma: float = 10.0

    def __call__(self, progress: float) -> float:
        return self.high * (2.0 / (1.0 + math.exp(-self.gamma * progress)) - 1.0)


@dataclass(frozen=True)
class Warmup:
    """0 until p = `start`, a straight line to `high` at p = `end`, then held."""

    high: float = 1.0
    start: float = 0.0
    end: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.start <= self.end <= 1.0:
            raise ValueError(f"Warmup needs 0 <= start <= end <= 1, got start={self.start}, end={self.end}")

    def __call__(self, progress: float) -> float:
        if progress >= self.end:
            return self.high
        if progress <= self.start:
            return 0.0
        return self.high * (progress - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class InverseDecay:
    """(1 + alpha p)^-beta: the learning-rate annealing of DANN (Ganin et al. 2016, sec. 5.2) and its successors."""

    alpha: float = 10.0
    beta: float = 0.75

    def __call__(self, progress: float) -> float:
        return (1.0 + self.alpha * progress) ** -self.beta
