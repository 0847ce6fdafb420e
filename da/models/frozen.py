"""A network as it was: what the trained one is compared with."""

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from da.models.network import named_layers
from da.models.state import load_network


class FrozenCopy(nn.Module):
    """A deep copy of `module` that never trains.

    Its parameters need no gradient, it stays in evaluation mode whatever `train()` asks for, and it runs without a
    graph. It is part of the state dict, so a resumed run compares with the same start. It shares nothing with
    `module`; forward hooks, such as those of `Network.watch`, are left behind.

    Args:
        module: what to copy, as it is now.
        layers: submodules whose outputs are in `watched` after each call. ValueError for a name that none has.
    """

    def __init__(self, module: nn.Module, layers: Sequence[str] = ()) -> None:
        super().__init__()
        self.module = _copy_without_hooks(module).requires_grad_(False)
        self.watched: dict[str, Tensor] = {}
        for name, layer in named_layers(self.module, layers).items():
            # A partial of a method, and no closure: it can be pickled, and a copy of it belongs to the copy.
            layer.register_forward_hook(partial(self._keep, name))
        self.train(False)

    def _keep(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.watched[name] = output

    def train(self, mode: bool = True) -> "FrozenCopy":
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Any) -> Any:
        """Return what `module` gives for `x`, without gradients."""
        return self.module(x)

    @torch.no_grad()
    def follow(self, module: nn.Module, momentum: float) -> None:
        """Move towards `module`, which has the same parts: momentum times what is here + (1 - momentum) what is there.

        Buffers too, such as the running statistics of batch norms; counters are taken over as they are.
        """
        here, there = ([*each.parameters(), *each.buffers()] for each in (self.module, module))
        for mine, other in zip(here, there, strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, 1 - momentum)
            else:
                mine.copy_(other)

    def load(self, checkpoint: str | Path) -> None:
        """Take the network's weights from the checkpoint of another run, in place of those that were copied.

        Raises FileNotFoundError, or ValueError for a file that is no checkpoint or holds another network.
        """
        load_network(self.module, checkpoint)


def _copy_without_hooks(module: nn.Module) -> nn.Module:
    """Deep copy, but for forward hooks and what they kept: the outputs of a past batch cannot be copied."""
    watched = getattr(module, "watched", None)
    copied = copy.deepcopy(module, {} if watched is None else {id(watched): {}})
    for inner in copied.modules():
        inner._forward_hooks.clear()
    return copied
