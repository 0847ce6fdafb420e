"""Watches, during training, that every term acts on the features."""

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from da.methods.base import Method
from da.terms.base import Losses, Objective, Term
from da.terms.gradients import inner_product, shared_gradients
from da.types import Step

TASK = "task"
"""The term whose gradient the others are compared with: L_S."""
NEGLIGIBLE = 1e-9
"""A gradient this much smaller than the task's is 0 for any purpose, whatever rounding left of it."""


class AlignmentMonitor(Callback):
    """Every `every` batches, the gradient of each weighted term on the shared features beside that of L_S.

    Logged as alignment/<term>/cosine and alignment/<term>/ratio (norm of lambda grad D over norm of grad L_S):
    a cosine near -1 says that the term works against the task, a ratio near 0 that it hardly acts. One more
    backward pass through the terms, not the network, in each of these batches; training is unchanged.

    A term whose gradient is 0 in `patience` checks in a row, after the fraction `warmup` of the training, raises
    RuntimeError naming the term and what is the matter. A term may say that it can be idle.
    """

    def __init__(self, every: int = 50, warmup: float = 0.1, patience: int = 5) -> None:
        if every < 1 or patience < 1 or not 0 <= warmup <= 1:
            raise ValueError(
                f"every and patience must be 1 or more and warmup in [0, 1], got every={every}, "
                f"patience={patience}, warmup={warmup}; monitor=none for none"
            )
        self.every, self.warmup, self.patience = every, warmup, patience
        self.silent: dict[str, int] = {}
        self.looked: dict[str, int] = {}  # the batch in which a term was last looked at

    def state_dict(self) -> dict[str, Any]:
        return {"silent": dict(self.silent)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.silent = dict(state_dict["silent"])

    def on_fit_start(self, trainer: Trainer, method: Any) -> None:
        method.observers.append(lambda step, losses: self._look(method, step, losses))

    def on_fit_end(self, trainer: Trainer, method: Any) -> None:
        method.observers.clear()

    def _look(self, method: Method, step: Step, losses: Losses) -> None:
        if method.batches_seen % self.every:
            return
        # An update of the heads alone leaves the features as they are, so there is nothing to see in it.
        if not any(z.requires_grad for z in step.whole.get("z", ())):
            return
        record: dict[str, float] = {}
        for name in losses.parts:
            # An update that is repeated within a batch is looked at once.
            if name != TASK and self.looked.get(name) != method.batches_seen:
                self.looked[name] = method.batches_seen
                record |= self._compare(name, step, losses, _term(method, name))
        for logger in method.loggers if record else []:
            logger.log_metrics(record, step=method.batches_seen)

    def _compare(self, name: str, step: Step, losses: Losses, term: Term | None) -> dict[str, float]:
        weight = float(losses.weights.get(name, 1.0))
        watched = {key: losses.parts[key] for key in (name, TASK) if key in losses.parts}
        gradients = shared_gradients(name, watched, step, term.layers if term else ())
        squares = {key: inner_product(g, g) for key, g in gradients.items()}
        norm = abs(weight) * squares[name].sqrt()
        task = squares[TASK].sqrt() if TASK in squares else None
        if not (term and term.may_be_idle):
            idle = bool(norm <= (NEGLIGIBLE * task if task is not None else 0.0))
            self._count(name, idle, weight, losses.parts[name], step)
        if task is None or not task > 0:
            return {f"alignment/{name}/norm": float(norm)}
        product = weight * inner_product(gradients[name], gradients[TASK])
        tiny = torch.finfo(norm.dtype).tiny
        return {
            f"alignment/{name}/ratio": float(norm / task),
            f"alignment/{name}/cosine": float(product / (norm * task).clamp_min(tiny)),
        }

    def _count(self, name: str, idle: bool, weight: float, part: Tensor, step: Step) -> None:
        self.silent[name] = self.silent.get(name, 0) + 1 if idle and step.progress >= self.warmup else 0
        if self.silent[name] < self.patience:
            return
        if weight == 0:
            why = "its weight is 0"
        elif not part.requires_grad:
            why = "its value has no gradient: it is computed under no_grad, or of detached tensors"
        elif part.detach().abs() == 0:
            why = "its value is 0: equal domains, or features that too large a weight has made constant"
        else:
            why = "no gradient arrives: detached features, a softmax over one output, or a reversal of strength 0"
        raise RuntimeError(
            f"term {name!r} does nothing: its gradient on the features was 0 in the last {self.patience} checks, "
            f"{self.every} batches apart; {why}. method=source_only trains without adaptation, "
            "monitor=none lets this pass"
        )


def _term(method: Method, name: str) -> Term | None:
    objective = getattr(method, "objective", None)
    return objective.named_terms().get(name) if isinstance(objective, Objective) else None
