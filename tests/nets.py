"""Every network in conf/, and a batch of what it reads, for the tests that hold all of them to the same rules."""

from typing import Any

import torch
from conftest import config, normal
from omegaconf import DictConfig
from torch import nn

DATA = ("data=digits_demo", "+data.num_channels=3", "+data.num_features=7", "+data.cardinalities=[4,3]")
"""Data that say all that any network asks of them."""


def net_config(name: str) -> DictConfig:
    """Compose a network of conf/, with a random start where its weights lie in a file that is not here."""
    cfg = config(*DATA, f"net={name}")
    _start_at_random(cfg.net.backbone)
    return cfg


def _start_at_random(node: DictConfig) -> None:
    for key, value in node.items():
        if isinstance(value, DictConfig):
            _start_at_random(value)
        elif key == "weights":
            node[key] = None


def example(cfg: DictConfig, n: int = 2, seed: int = 0) -> Any:
    """Return n rows of what the network reads, by `net.input`."""
    given = cfg.net.input
    if "tokenizer" in given:
        ids = torch.randint(5, 100, (n, given.max_length), generator=torch.Generator().manual_seed(seed))
        used = torch.arange(given.max_length) < 6 + torch.arange(n)[:, None]
        return {"input_ids": (ids * used).int(), "attention_mask": used.int()}
    if "cardinalities" in given:
        codes = torch.stack([torch.arange(seed, seed + n) % cardinality for cardinality in given.cardinalities], dim=1)
        return {"numeric": normal(n, given.features, seed=seed, dtype=torch.float32), "categorical": codes}
    if "size" in given:
        shape = (given.channels, given.size, given.size)
    elif "rate" in given:
        shape = (round(given.rate * given.seconds),)
    elif "channels" in given:
        shape = (given.channels, 64)
    else:
        shape = (given.features,)
    return normal(n, *shape, seed=seed, dtype=torch.float32)


class Normed(nn.Sequential):
    """Linear, batch norm and dropout as a backbone: what evaluation mode changes is there."""

    def __init__(self, in_dim: int = 4, out_dim: int = 5) -> None:
        super().__init__(nn.Linear(in_dim, out_dim), nn.BatchNorm1d(out_dim), nn.Dropout(0.5))
        self.out_dim = out_dim


def with_statistics(backbone, x):
    """Let every batch norm know what comes: with a mean of 0 and a variance of 1 some networks give zeros."""
    norms = [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        backbone.train()(x)
    for norm in norms:
        norm.momentum = 0.1
    return backbone
