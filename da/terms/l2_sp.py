"""Penalties on the parameters: towards their start, and towards zero."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from da.models.frozen import FrozenCopy
from da.terms.base import Term
from da.types import Step

PARTS = ("backbone", "bottleneck", "head")
"""What a network is made of."""


class L2SP(Term):
    """1/2 |w - w0|^2 over the parts in `to_start` + ratio/2 |w|^2 over those in `to_zero`.

    L2-SP, Li, Grandvalet & Davoine 2018, sec. 3: the paper's alpha is the weight lambda of this term, its beta is
    lambda * `ratio`. w0 is the network as it is when training begins (after `init_from` and a source stage), and
    constant in backward. With an empty `to_start` it is plain L2.

    w are all parameters of a part, biases and batch norm's included; a normalised head is penalised through its
    magnitude and its direction vector. It is no mean over rows and reads no stream. The gradient of the second half
    is that of an optimizer's weight decay of lambda * ratio, and the decay pulls the first half to zero against this
    term: give the optimizer weight_decay=0.

    Raises ValueError for an unknown part, one named in both, none at all, or a negative ratio.
    """

    streams = frozenset()
    acts_on_features = False

    def __init__(
        self,
        to_start: Sequence[str] = ("backbone", "bottleneck"),
        to_zero: Sequence[str] = ("head",),
        ratio: float = 1.0,
    ) -> None:
        super().__init__()
        named = [*to_start, *to_zero]
        if not named or len(set(named)) < len(named) or not set(named) <= set(PARTS):
            raise ValueError(
                f"to_start={list(to_start)} and to_zero={list(to_zero)}: expected one or more of {', '.join(PARTS)}, "
                "each named once"
            )
        if ratio < 0:
            raise ValueError(f"ratio must not be negative, got {ratio}")
        self.to_start, self.to_zero, self.ratio = tuple(to_start), tuple(to_zero), ratio
        self.start: FrozenCopy | None = None

    def prepare(self, net: Any) -> None:
        self.start = FrozenCopy(nn.ModuleDict({part: net.get_submodule(part) for part in self.to_start}))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        if step.net is None or self.start is None:
            raise ValueError("L2SP compares the network with its start: it needs prepare(net), and a step with its net")
        net = cast(nn.Module, step.net)
        pairs = zip(_parameters(net, self.to_start), self.start.parameters(), strict=True)
        moved = [(now - before).square().sum() for now, before in pairs]
        size = [self.ratio * now.square().sum() for now in _parameters(net, self.to_zero)]
        nothing = next(net.parameters()).new_zeros(())  # a part may have no parameters at all
        return torch.stack([nothing, *moved, *size]).sum() / 2


def _parameters(net: nn.Module, parts: Iterable[str]) -> list[nn.Parameter]:
    return [parameter for part in parts for parameter in net.get_submodule(part).parameters()]
