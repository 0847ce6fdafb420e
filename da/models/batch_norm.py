"""Batch normalisation that does not depend on how many processes share the batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from da.distributed import gather, world_size

Kind = TypeVar("Kind", bound="SharedBatchNorm")


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


class StochNorm(SharedBatchNorm):
    """In training, each channel is normalised by the moving statistics with probability `p`, else by the batch's.

    Kou et al. 2020, Stochastic normalization. The channels are drawn anew for each batch, the same ones on all
    processes and after a resume; the moving statistics are those that the batch is in already.
    """

    p: float = 0.5

    @classmethod
    def of(cls, norm: nn.Module, p: float) -> "StochNorm":
        """Return one in place of a batch norm; ValueError unless p is a probability, or without moving statistics."""
        if not 0 <= p <= 1:
            raise ValueError(f"tuning.stoch_norm={p} must lie in [0, 1]")
        made = _like(norm, cls)
        made.p = p
        return made

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        if not self.training:
            return output
        moving = F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        assert self.num_batches_tracked is not None
        generator = torch.Generator().manual_seed(int(self.num_batches_tracked))
        chosen = torch.rand(self.num_features, generator=generator) < self.p
        return torch.where(chosen.to(input.device).view(1, -1, *[1] * (input.dim() - 2)), moving, output)


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, SharedBatchNorm)


def share_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm inside `module` by a `SharedBatchNorm` with the same parameters and buffers.

    Raises TypeError for a subclass with a `forward` of its own, which may do more than normalise.
    """
    replace_batch_norms(module, lambda norm: _like(norm, SharedBatchNorm))


def replace_batch_norms(module: nn.Module, make: Callable[[nn.Module], nn.Module]) -> None:
    """Put what `make` gives for it in the place of every batch norm inside `module`."""
    for name, child in module.named_children():
        if isinstance(child, BATCH_NORMS):
            setattr(module, name, make(child))
        else:
            replace_batch_norms(child, make)


def _like(norm: Any, kind: type[Kind]) -> Kind:
    """Make a batch norm of this kind with the parameters themselves, which may be frozen, and copies of the buffers."""
    if type(norm).forward not in (_BatchNorm.forward, SharedBatchNorm.forward):
        raise TypeError(f"a {type(norm).__name__} can't become a {kind.__name__}")
    made = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.load_state_dict(norm.state_dict())
    made.weight, made.bias, made.training = norm.weight, norm.bias, norm.training
    return made


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
