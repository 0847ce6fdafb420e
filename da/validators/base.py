"""What a validator is, and the rows that it is shown."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from da.types import Encoded, Role

T = TypeVar("T")
Mix = Callable[[Tensor, Tensor, float], Tensor]
"""`mix(i, j, lam)`: logits [n, c] of lam x_i + (1 - lam) x_j, for positions i and j [n] of the target rows."""


BOTH: frozenset[Role] = frozenset({"source", "target"})
"""What a validator `reads` that compares the domains."""


class Seen(NamedTuple):
    """The rows of a validation, of all processes, each row once, in the order of their numbers; in float32.

    Target labels are HIDDEN, but for the few that a validator says it needs.
    """

    target: Encoded
    source: Encoded | None = None  # held-out rows; None where the method does not open the source
    mix: Mix | None = None
    memo: dict[str, Any] | None = None  # what validators have computed of these rows, labels aside; see `once`

    def once(self, name: str, make: Callable[[], T]) -> T:
        """Return what `make` gives, computed once for all validators of a validation; it must read no target label."""
        if self.memo is None:
            return make()
        if name not in self.memo:
            self.memo[name] = make()
        found: T = self.memo[name]
        return found

    @property
    def p(self) -> Float[Tensor, "n c"]:
        """Predicted probabilities of the target rows."""
        return self.target.logits.softmax(dim=1)

    @property
    def predicted(self) -> Int[Tensor, " n"]:
        """Predicted classes of the target rows."""
        return self.target.logits.argmax(dim=1)

    @property
    def same_classes(self) -> bool:
        """Whether both domains, if there are two, have equally many classes."""
        return self.source is None or self.source.logits.shape[1] == self.target.logits.shape[1]

    def need_source(self) -> Encoded:
        """Return the source's rows; a validator that `reads` the source is not asked without them."""
        assert self.source is not None
        return self.source


class Validator(ABC):
    """A score of a model without target labels, from held-out source rows and target rows. Higher is better."""

    reads: frozenset[Role] = frozenset({"target"})
    """The domains it needs; without one of them the validator is left out."""
    resists_collapse: bool = False
    """Whether a model that calls everything one class, with certainty, scores lower than one that is right, whether its
    features have fallen onto one point or not."""
    labels_per_class: int = 0
    """Target labels a class that it is shown; a run that uses it counts them."""
    mixes: bool = False
    """Whether it asks for `Seen.mix`, predictions of mixed target rows."""

    @abstractmethod
    def score(self, seen: Seen) -> Float[Tensor, ""]:
        """Return the score, NaN where such rows have none. What it draws, it draws from a generator of its own."""

    @abstractmethod
    def bounds(self, seen: Seen) -> tuple[float, float]:
        """Return the lowest and the highest score that such rows can have; an end may be infinite."""

    def normalised(self, score: float, seen: Seen) -> float:
        """Return a score on a scale from 0 to 1.

        Linear between its bounds; at a distance x from the one that is finite, x / (1 + x) or 1 / (1 + x); where
        neither is, (1 + s / (1 + |s|)) / 2. NaN where the bounds are one point, as with a single row or class.
        """
        low, high = self.bounds(seen)
        if math.isinf(low) and math.isinf(high):
            return (1.0 + score / (1.0 + abs(score))) / 2
        if math.isinf(low):
            return 1.0 / (1.0 + (high - score))
        if math.isinf(high):
            return (score - low) / (1.0 + score - low)
        return (score - low) / (high - low) if high > low else math.nan


class SeenRows(Metric):
    """Collects the rows of both domains. Its states are torchmetrics states, so several processes see what one sees."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for role in ("source", "target"):
            for column in ("z", "logits", "y", "domain", "index"):
                self.add_state(f"{role}_{column}", [], dist_reduce_fx="cat")

    def update(self, role: Role, rows: Encoded) -> None:
        for column in ("z", "logits", "y", "domain", "index"):
            value = getattr(rows, column).detach()
            getattr(self, f"{role}_{column}").append(value.float() if value.is_floating_point() else value)

    def seen(self) -> Seen:
        """Return the rows of all processes in the order of their numbers; ValueError if there is none of the target.

        Not `compute`, which would take the one dimension from columns of a single row.
        """
        with self.sync_context():
            target, source = self._rows("target"), self._rows("source")
        if target is None:
            raise ValueError("no row of the target was validated")
        return Seen(target, source, memo={})

    def compute(self) -> Tensor:
        """Return the number of target rows."""
        return torch.tensor(len(self.seen().target.y))

    def _rows(self, role: Role) -> Encoded | None:
        states: list[Any] = [getattr(self, f"{role}_{c}") for c in ("z", "logits", "y", "domain", "index")]
        if not len(states[0]):
            return None
        # A list until torchmetrics concatenates it over the processes.
        z, logits, y, domain, index = (torch.cat(state) if isinstance(state, list) else state for state in states)
        order = index.argsort()  # over all domains of a role, rows are numbered once
        return Encoded(z[order], logits[order], y[order], domain[order], index[order])
