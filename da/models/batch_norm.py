"""Batch normalisation that does not depend on how many processes share the batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from da.distributed import gather, world_size


class SharedBatchNorm(_BatchNorm):
    """Batch norm over the batch of all processes together, on any device; alone it is PyTorch's own.

    `torch.nn.SyncBatchNorm` does the same on CUDA only. Every rank must hold the same number of rows.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm needs an input [n, c, ...], got shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(input)
        dims = [0, *range(2, input.dim())]
        rows = world_size() * input.numel() // input.shape[1]
        local = torch.stack([input.mean(dim=dims), input.var(dim=dims, unbiased=False)])
        means, variances = gather(local.unsqueeze(0)).unbind(dim=1)  # [ranks, c] each
        mean = means.mean(dim=0)
        variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
        self._track(mean.detach(), variance.detach() * rows / max(rows - 1, 1))
        shape = [1, -1] + [1] * (input.dim() - 2)
        scale = torch.rsqrt(variance + self.eps) * (self.weight if self.affine else 1.0)
        shift = (self.bias if self.affine else 0.0) - mean * scale
        return input * scale.view(shape) + shift.view(shape)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats:
            return
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def share_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm inside `module` by a `SharedBatchNorm` with the same parameters and buffers.

    Raises TypeError for a subclass with a `forward` of its own, which may do more than normalise.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            if type(child).forward is not _BatchNorm.forward:
                raise TypeError(f"layer {name!r} is a {type(child).__name__}: it can't become a SharedBatchNorm")
            shared = SharedBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            shared.load_state_dict(child.state_dict())
            shared.weight, shared.bias = child.weight, child.bias  # themselves: they may be frozen
            shared.training = child.training
            setattr(module, name, shared)
        else:
            share_batch_norm(child)


@contextmanager
def keep_running_statistics(net: Any) -> Iterator[None]:
    """Context in which a forward pass leaves the running statistics of every batch norm inside `net` as they are.

    In training mode a batch is still normalised by its own statistics, in evaluation mode by the running ones. For
    extra passes over inputs that are no samples of a domain, such as perturbed or mixed ones.
    """
    modules = net.modules() if isinstance(net, nn.Module) else ()
    tracking = [module for module in modules if isinstance(module, _BatchNorm) and module.track_running_stats]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
