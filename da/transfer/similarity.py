"""How near the rows are to those that a network was trained on, by the running statistics of its batch norm alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from da.distributed import mean_over_ranks, world_size


class Moments:
    """Count, mean and variance by channel of batches [n, d, ...], added up in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.sums = torch.zeros(())  # [2, d], of the values and of their squares

    def add(self, x: Tensor) -> None:
        """Add the values of a batch."""
        x = x.detach().double()
        dims = [0, *range(2, x.ndim)]
        self.count += x.numel() // x.shape[1]
        self.sums = self.sums.to(x) + torch.stack([x.sum(dim=dims), x.square().sum(dim=dims)])

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and variance [d] of the values of all processes; unbiased, as batch norm keeps it."""
        mean, square = mean_over_ranks(self.sums / self.count)
        n = self.count * world_size()
        return mean, (square - mean.square()).clamp_min(0) * (n / max(n - 1, 1))


def jeffreys_by_channel(mean_a: Tensor, var_a: Tensor, mean_b: Tensor, var_b: Tensor) -> Tensor:
    """Return KL(a || b) + KL(b || a) of one-dimensional Gaussians, the mean over the channels [d].

    A change of a channel's scale or origin on both sides changes nothing, so that networks compare with one another.
    """
    square = (mean_a - mean_b).square()
    return (((var_a + square) / var_b + (var_b + square) / var_a).mean() - 2) / 2


def batch_norms(net: nn.Module) -> dict[str, _BatchNorm]:
    """Return the layers of a network that remember what they were trained on; ValueError if there is none."""
    layers = {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None
    }
    if not layers:
        raise ValueError("it has no batch norm with running statistics, and those are what similarity is measured by")
    return layers


@contextmanager
def watch_batch_norm(net: nn.Module) -> Iterator[dict[str, Moments]]:
    """Context in which the moments of what every batch norm inside `net` is given are added up, by its name.

    The network should be in evaluation mode, so that each layer is given what the running statistics of those before
    it let through.
    """
    layers = batch_norms(net)
    found = {name: Moments() for name in layers}
    hooks = [layer.register_forward_pre_hook(partial(_add, found[name])) for name, layer in layers.items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _add(moments: Moments, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    moments.add(inputs[0])


def domain_distance(net: nn.Module, found: Mapping[str, Moments]) -> Tensor:
    """Return the distance of the rows that gave `found` from those behind the running statistics: 0 if alike.

    `jeffreys_by_channel`, the mean over the layers; each layer's own epsilon is added to both variances. All batch
    norms count alike, the first as much as the last.
    """
    distances = []
    for name, layer in batch_norms(net).items():
        assert layer.running_mean is not None
        assert layer.running_var is not None
        mean, variance = found[name].statistics()
        stored = layer.running_mean.double(), layer.running_var.double() + layer.eps
        distances.append(jeffreys_by_channel(*stored, mean, variance + layer.eps))
    return torch.stack(distances).mean()
