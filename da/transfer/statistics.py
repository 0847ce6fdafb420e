"""Running statistics of batch norm, estimated anew for a network whose parameters were mixed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PARTS = ("backbone", "bottleneck", "head")
"""Of a `da.models.network.Network`, in the order in which rows pass them."""


def has_statistics(state: Mapping[str, Tensor]) -> bool:
    """Whether a network has running statistics of batch norm."""
    return any(key.startswith(PARTS) and key.endswith(".running_mean") for key in state)


def mixed_parts(fused: Mapping[str, Tensor], states: Sequence[Mapping[str, Tensor]]) -> tuple[str, ...]:
    """Return the parts whose running statistics no longer hold, which are those from the first that was mixed on.

    The parts before it are, bit for bit, those of one of the networks, so their inputs are too: a frozen backbone that
    all networks share, a whole network that was mixed with the share 0.
    """

    def alike(state: Mapping[str, Tensor]) -> int:
        for i, part in enumerate(PARTS):
            keys = [key for key in fused if key.startswith(f"{part}.")]
            if not all(torch.equal(fused[key], state[key]) for key in keys):
                return i
        return len(PARTS)

    return PARTS[max(map(alike, states)) :]


def normalisers(net: nn.Module, parts: Iterable[str] = PARTS) -> list[_BatchNorm]:
    """Return the batch norms with running statistics in these parts of a network."""
    modules = [module for part in parts for module in net.get_submodule(part).modules()]
    return [m for m in modules if isinstance(m, _BatchNorm) and m.track_running_stats]


@torch.no_grad()
def estimate_statistics(net: nn.Module, inputs: Iterable[Any], parts: Iterable[str] = PARTS) -> int:
    """Forget the running statistics in `parts`, and take their mean over `inputs`, the x of one forward pass each.

    Each batch counts the same, whatever the momentum: mean of the batch means, mean of the unbiased batch variances, as
    `torch.optim.swa_utils.update_bn` does. The network is in training mode, with dropout, as when the statistics that
    are replaced were taken; its random numbers are the same at every call. Batch norms outside of `parts` normalise by
    the statistics that they have. Returns the number of inputs; ValueError if there was none.
    """
    net.train()
    for layer in normalisers(net):
        layer.eval()
    layers = normalisers(net, parts)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # PyTorch's sign for a cumulative mean
        layer.train()
    passes = 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for x in inputs:
            net(x)
            passes += 1
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    net.eval()
    if not passes:
        raise ValueError("there are no rows to estimate the statistics of batch norm on")
    return passes
