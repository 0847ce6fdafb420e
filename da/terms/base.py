"""The objective: a weighted sum of named terms."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from da.schedules import Constant, Schedule
from da.types import Step


class Term(nn.Module, ABC):
    """One summand. It may own parameters (a discriminator) but never an optimizer or a weight."""

    streams: frozenset[str] = frozenset({"source", "target"})
    """Streams this term reads; the data module opens the union over the terms."""
    reversal: Schedule | None = None
    """Strength of the gradient reversal inside an adversarial term, by training progress."""

    @abstractmethod
    def forward(self, step: Step) -> Float[Tensor, ""]: ...


def full_precision(step: Step) -> torch.autocast:
    """Context in which autocast is off: distances and covariances are differences of large numbers."""
    return torch.autocast(next(iter(step.streams.values())).z.device.type, enabled=False)


class Losses(NamedTuple):
    """The loss of one update, and what it is made of."""

    total: Tensor
    parts: Mapping[str, Tensor]  # the terms, unweighted
    weights: Mapping[str, float]  # what each was multiplied by
    reversals: Mapping[str, float] = {}  # strength of the gradient reversal inside a term: not a weight

    def check_finite(self) -> None:
        """Raise FloatingPointError naming the terms that are NaN or inf."""
        if torch.isfinite(self.total):
            return
        values = {name: value.item() for name, value in self.parts.items()}
        bad = [
            f"{name!r} is {value:g}, with weight {self.weights.get(name, 1.0):g}"
            for name, value in values.items()
            if not math.isfinite(value * self.weights.get(name, 1.0)) or abs(value * self.weights.get(name, 1.0)) > 1e38
        ]
        raise FloatingPointError(f"the loss is not finite: term {', '.join(bad) or values}")


def complete_weights(
    weights: Mapping[str, Schedule] | None, terms: Mapping[str, object] | tuple[str, ...]
) -> dict[str, Schedule]:
    """Return a schedule for every term, 1 where none is given. ValueError for a weight without a term."""
    weights = dict(weights or {})
    if unknown := weights.keys() - set(terms):
        raise ValueError(f"weights name {sorted(unknown)}, but the terms are {sorted(terms)}")
    return {name: weights.get(name, Constant(1.0)) for name in terms}


class Objective(nn.Module):
    """L = sum_k lambda_k(p) * term_k(step): a sum, never a mean, so a new term does not re-weight the others.

    The terms are computed in full precision even where the network runs under autocast.
    """

    def __init__(self, terms: Mapping[str, Term], weights: Mapping[str, Schedule] | None = None) -> None:
        super().__init__()
        if not terms:
            raise ValueError("an objective needs at least one term, got none")
        self.weights = complete_weights(weights, terms)
        self.terms = nn.ModuleDict(terms)
        self.reversals: dict[str, Schedule] = {n: t.reversal for n, t in terms.items() if t.reversal is not None}
        self.streams = frozenset[str]().union(*(term.streams for term in terms.values()))

    def forward(self, step: Step) -> Losses:
        with full_precision(step):
            parts = {name: term(step) for name, term in self.terms.items()}
        weights = {name: weight(step.progress) for name, weight in self.weights.items()}
        reversals = {name: reversal(step.progress) for name, reversal in self.reversals.items()}
        total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
        return Losses(total, parts, weights, reversals)
