"""The optimizer of a network, whose parts learn at rates of their own."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from da.models.network import Network

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]
"""Makes an optimizer from parameter groups."""


def new_optimizer(make: OptimizerFactory, net: Network, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """Make an optimizer of these modules' trainable parameters, those of `net` at their share of the learning rate.

    The share is in each group's `base_lr`. What is unfrozen later makes a group of its own: fused optimizers refuse one
    that has momentum only in part. ValueError if there is nothing to train.
    """
    wanted = {p: (1.0, "") for module in modules for p in module.parameters() if p.requires_grad}
    for group in net.parameter_groups():
        wanted |= {p: (group.lr_scale, group.stage) for p in group.parameters if p in wanted}
    if not wanted:
        raise ValueError("there is nothing to train: all parameters are frozen")
    keys = sorted(set(wanted.values()))
    optimizer = make([{"params": [p for p in wanted if wanted[p] == key]} for key in keys])
    for settings, (scale, _) in zip(optimizer.param_groups, keys, strict=True):
        settings["base_lr"] = settings["lr"] * scale
    return optimizer
