"""The first batch, tried on a copy: does a stack compute what its runs compute by themselves?"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from da.callbacks.seeding import seed_generators
from da.methods.weighted_sum import WeightedSum
from da.stacked.reasons import NotStackableError, SeedsDifferError, agree
from da.stacked.stack import Stack
from da.types import Batch


def copied(method: WeightedSum) -> WeightedSum:
    """Return a copy of the method that shares a frozen backbone."""
    shared = {id(method.net.backbone): method.net.backbone} if method.net.freeze_backbone else {}
    return copy.deepcopy(method, shared)


class Trial(Callback):
    """Before the first batch, compares losses and gradients of the first and the last run with theirs by themselves.

    Raises NotStackableError where they differ, or where the method does what `torch.vmap` can't follow. To stand
    before the callback that seeds the batches.

    Args:
        methods: those of the seeds by themselves, not stacked.
    """

    def __init__(self, methods: Sequence[WeightedSum]) -> None:
        self.methods = [copied(method) for method in methods]

    def on_train_batch_start(self, trainer: Trainer, stack: Any, batch: Sequence[Batch], batch_idx: int) -> None:
        if stack.batches_seen != 1:
            return
        like = next(iter(stack.stacked().values()))  # of the device and the precision of the trainer
        methods = [method.to(like) for method in self.methods]
        refused = SeedsDifferError if len(methods) > 1 else NotStackableError
        try:
            gaps = _compare(trainer, Stack.like(stack, [copied(method) for method in methods]), methods, batch)
        except Exception as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise refused(f"torch.vmap can't follow it: {line}") from error
        if gaps:
            raise refused(f"stacked it is not what it is by itself, in {gaps[0]}")


def _compare(trainer: Trainer, stack: Stack, methods: Sequence[WeightedSum], batches: Sequence[Batch]) -> list[str]:
    """Return what differs."""
    stack.trainer = trainer
    names = [name for name, value in stack.stacked().items() if value.requires_grad]
    stack.seed(range(len(methods)))
    losses = stack.losses(batches)
    stacked = torch.autograd.grad(losses.total.sum(), [stack.stacked()[n] for n in names], allow_unused=True)
    weights = stack.current_weights()
    gaps = []
    for run in {0, stack.size - 1}:
        seed = stack.seed_of[run]
        own = copied(methods[seed])
        own.trainer = trainer
        seed_generators(seed, stack.device)
        alone = own.objective(own.encode(batches[seed]), {name: weight[run] for name, weight in weights.items()})
        parameters = dict(own.named_parameters())
        gradients = torch.autograd.grad(alone.total, [parameters[n] for n in names], allow_unused=True)
        pairs = [("the loss", losses.total[run], alone.total)]
        pairs += [(f"the term {name!r}", losses.parts[name][run], part) for name, part in alone.parts.items()]
        for name, many, one in zip(names, stacked, gradients, strict=True):
            if (many is None) != (one is None):
                gaps.append(f"the gradient of {name}")
            elif many is not None and one is not None:
                pairs.append((f"the gradient of {name}", many[run], one))
        gaps += [what for what, many, one in pairs if not agree(many, one)]
    return gaps
