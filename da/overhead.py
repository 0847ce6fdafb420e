"""What Lightning does in every step and nobody here needs, left out: a third of what its loop costs.

`benchmarks/speed/step.py` measures it.
"""

import inspect
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.profilers import PassThroughProfiler

_NOTHING = nullcontext()
_OF_EACH_STEP = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


class LeanModule(LightningModule):
    """A LightningModule that Lightning's loop asks less of."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "training_step" in vars(cls):
            # Lightning asks for it in every batch, and Python would work it out anew.
            vars(cls)["training_step"].__signature__ = inspect.signature(vars(cls)["training_step"])

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # noted around every hook; nn.Module would ask whether it is a parameter
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)


class Untimed(PassThroughProfiler):
    """Times nothing, as Lightning's own, without a generator for each of the things that are not timed."""

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]  # one of many
        return _NOTHING


def leave_out_unused_hooks(callbacks: Iterable[Callback]) -> None:
    """Take from callbacks those hooks of each step that do nothing: Lightning calls what is callable."""
    for callback in callbacks:
        for hook in _OF_EACH_STEP:
            if getattr(type(callback), hook) is getattr(Callback, hook):
                setattr(callback, hook, None)
