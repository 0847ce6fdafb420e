"""Running statistics of batch norm, estimated anew for a network whose parameters were mixed."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PARTS = ("backbone", "bottleneck", "head")
"""Of a `da.models.network.Network`, in the order in which rows pass them."""
MEAN, VARIANCE = ".running_mean", ".running_var"


def stale_statistics(
    fused: Mapping[str, Tensor], states: Sequence[Mapping[str, Tensor]], of_one: Collection[str] = ()
) -> list[str]:
    """Return the names of the batch norms whose running statistics no longer hold in `fused`, a mix of `states`.

    They do hold in the parts before the first one that was mixed, which are bit for bit those of one network, and so
    are their inputs. They are left alone, too, where they are equal in all networks: then no training has moved them,
    as those of a backbone whose batch norms are frozen. But not those `of_one`, names that only one network had.
    """
    mixed = PARTS[max(_alike(fused, state) for state in states) :]
    names = [key.removesuffix(MEAN) for key in fused if key.endswith(MEAN) and key.startswith(mixed)]
    return [
        name
        for name in names
        if f"{name}{MEAN}" in of_one
        or not all(
            torch.equal(state[name + kind], states[0][name + kind]) for state in states for kind in (MEAN, VARIANCE)
        )
    ]


def _alike(fused: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> int:
    """Count the parts from the first on that are bit for bit those of one network."""
    for i, part in enumerate(PARTS):
        if not all(torch.equal(fused[key], state[key]) for key in fused if key.startswith(f"{part}.")):
            return i
    return len(PARTS)


@torch.no_grad()
def estimate_statistics(net: nn.Module, inputs: Iterable[Any], names: Iterable[str]) -> int:
    """Forget the running statistics of these batch norms, and take their mean over `inputs`, x of a forward pass each.

    Each batch counts the same, whatever the momentum: mean of the batch means, mean of the unbiased batch variances, as
    `torch.optim.swa_utils.update_bn` does. The network is in training mode, with dropout, as when the statistics that
    are replaced were taken; its random numbers are the same at every call. Other batch norms normalise by the
    statistics that they have. Returns the number of inputs; ValueError if there was none.
    """
    net.train()
    for module in net.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    layers = [layer for name in names if isinstance(layer := net.get_submodule(name), _BatchNorm)]
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
