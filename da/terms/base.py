"""The objective: a weighted sum of named terms."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from da.distributed import gather, max_over_ranks
from da.schedules import Constant, Schedule
from da.types import Encoded, Step


class Term(nn.Module, ABC):
    """One summand. It may own parameters (a discriminator) but never an optimizer or a weight."""

    streams: frozenset[str] = frozenset({"source", "target"})
    """Streams this term reads; the data module opens the union over the terms."""
    constant_streams: frozenset[str] = frozenset()
    """Those of the streams that are held constant in backward, such as the view that makes pseudo-labels."""
    order_invariant: bool = True
    """The rows may change places; not so for a term that pairs each row with one drawn at random."""
    layers: tuple[str, ...] = ()
    """Layers this term reads beside the features and the logits, by their names inside the network. Known at the
    latest when `prepare` has been called."""
    fits_on: tuple[str, ...] = ()
    """Those of the streams that `fit` reads as a whole."""
    reversal: Schedule | None = None
    """Strength of the gradient reversal inside an adversarial term, by training progress."""
    acts_on_features: bool = True
    """Whether its gradient should reach the features; a penalty on the parameters alone says False."""
    may_be_idle: bool = False
    """Whether its gradient may be 0 for long, as that of confident rows while there are none."""
    same_classes: bool = False
    """Whether it takes class k of one domain for class k of the other, as none can where each has its own."""
    measures: Mapping[str, Tensor] = MappingProxyType({})
    """What the last call saw beside the loss, such as a discriminator's accuracy: logged as train/<term>/<name>."""

    def prepare(self, net: Any) -> None:
        """Take what must be kept of the network as it starts. Called once, before the optimizer is made."""

    def fit(self, rows: Mapping[str, Encoded]) -> None:
        """Learn from all rows of the streams in `fits_on`, as the network sees them before its first step.

        Called once, with the same rows on every process. What is learned is kept in buffers that `prepare` made: a
        resumed run takes them from the checkpoint and does not fit again.
        """

    @abstractmethod
    def forward(self, step: Step) -> Float[Tensor, ""]: ...


class AdaptiveWeight(nn.Module, ABC):
    """A weight lambda that follows the training, where a schedule follows the clock alone.

    It reads losses and gradients, never a target label. What it remembers is saved in the checkpoint.
    """

    @abstractmethod
    def forward(
        self, name: str, parts: Mapping[str, Tensor], step: Step, layers: Sequence[str] = ()
    ) -> Float[Tensor, ""]:
        """Return the weight of term `name`, given the values of all terms and the layers that this one names."""

    def cost(self) -> Tensor | float:
        """What is added to the loss so that the weight can be learned."""
        return 0.0


def full_precision(step: Step) -> torch.autocast:
    """Context in which autocast is off: distances and covariances are differences of large numbers."""
    return torch.autocast(next(iter(step.streams.values())).z.device.type, enabled=False)


class Losses(NamedTuple):
    """The loss of one update, and what it is made of."""

    total: Tensor
    parts: Mapping[str, Tensor]  # the terms, unweighted
    weights: Mapping[str, float | Tensor]  # what each was multiplied by
    reversals: Mapping[str, float] = {}  # strength of the gradient reversal inside a term: not a weight
    measures: Mapping[str, Tensor] = {}  # "<term>/<name>": what else the terms saw

    def check_finite(self) -> None:
        """Raise FloatingPointError naming the terms that are NaN or inf, on all processes if they are on one."""
        if not max_over_ranks(int(not torch.isfinite(self.total)))[0]:
            return
        values = gather(torch.stack([part.detach() for part in self.parts.values()])[None]).tolist()
        bad = []
        for process, row in enumerate(values):
            where = f" on process {process}" if len(values) > 1 else ""
            for name, value in zip(self.parts, row, strict=True):
                weight = float(self.weights.get(name, 1.0))
                if not math.isfinite(value * weight) or abs(value * weight) > 1e38:
                    bad.append(f"{name!r} is {value:g}{where}, with weight {weight:g}")
        raise FloatingPointError(f"the loss is not finite: term {', '.join(bad) or values}")


Weight = Schedule | AdaptiveWeight


def complete_weights(
    weights: Mapping[str, Weight] | None, terms: Mapping[str, object] | tuple[str, ...]
) -> dict[str, Weight]:
    """Return a schedule for every term, 1 where none is given. ValueError for a weight without a term."""
    weights = dict(weights or {})
    if unknown := weights.keys() - set(terms):
        raise ValueError(f"weights name {sorted(unknown)}, but the terms are {sorted(terms)}")
    return {name: weights.get(name, Constant(1.0)) for name in terms}


class Objective(nn.Module):
    """L = sum_k lambda_k * term_k(step): a sum, never a mean, so a new term does not re-weight the others.

    lambda_k is a schedule of the progress, or an `AdaptiveWeight`. The terms are computed in full precision
    even where the network runs under autocast.
    """

    def __init__(self, terms: Mapping[str, Term], weights: Mapping[str, Weight] | None = None) -> None:
        super().__init__()
        if not terms:
            raise ValueError("an objective needs at least one term, got none")
        self.weights = complete_weights(weights, terms)
        self.adaptive = nn.ModuleDict({n: w for n, w in self.weights.items() if isinstance(w, AdaptiveWeight)})
        self.terms = nn.ModuleDict(terms)
        self.reversals: dict[str, Schedule] = {n: t.reversal for n, t in terms.items() if t.reversal is not None}
        self.streams = frozenset[str]().union(*(term.streams for term in terms.values()))

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers that the terms read."""
        return tuple(dict.fromkeys(layer for term in self.named_terms().values() for layer in term.layers))

    def prepare(self, net: Any) -> None:
        """Show the network to the terms, as it is before training."""
        for name, term in self.named_terms().items():
            if term.same_classes and getattr(net, "own_classes", False):
                raise ValueError(f"the term {name!r} compares both domains' classes: not for data.label_sets=separate")
            term.prepare(net)

    def named_terms(self) -> dict[str, Term]:
        """Return the terms by their names."""
        return cast(dict[str, Term], dict(self.terms.items()))

    def forward(self, step: Step, weights: Mapping[str, Tensor] | None = None) -> Losses:
        """Return the losses of a step; `weights`, where given, take the place of the schedules."""
        with full_precision(step):
            parts = {name: term(step) for name, term in self.terms.items()}
            used = {name: weights[name] if weights else self._weight(name, parts, step) for name in parts}
        reversals = {name: reversal(step.progress) for name, reversal in self.reversals.items()}
        total = torch.stack([used[name] * part for name, part in parts.items()]).sum()
        for weight in self.weights.values():
            total = total + weight.cost() if isinstance(weight, AdaptiveWeight) else total
        measures = {f"{n}/{key}": x for n, term in self.named_terms().items() for key, x in term.measures.items()}
        constant = {name: w.detach() if isinstance(w, Tensor) else w for name, w in used.items()}
        return Losses(total, parts, constant, reversals, measures)

    def _weight(self, name: str, parts: Mapping[str, Tensor], step: Step) -> float | Tensor:
        weight = self.weights[name]
        if isinstance(weight, AdaptiveWeight):
            adapted: Tensor = weight(name, parts, step, self.named_terms()[name].layers)
            return adapted
        return weight(step.progress)
