"""What a network, as it is, makes of the rows of a domain; and the rows without a network."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F

from da.data.base import DomainData
from da.data.rows import Rows, Subset
from da.data.streams import some_rows
from da.models.network import Network
from da.types import HIDDEN, Role, join_rows

WIDE, PIXELS = 20_000, 32
"""Most numbers in a row as it is, and in a side of an image, which is averaged down to it."""


class Features(NamedTuple):
    """Rows of one domain after the network in evaluation mode."""

    backbone: Tensor  # [n, backbone's out_dim], or what was cached of it
    z: Tensor  # [n, feature_dim]
    logits: Tensor  # [n, c]
    y: Tensor  # [n], HIDDEN where the label must not be seen


def freeze_and_cache(cfg: DictConfig, words: Collection[str]) -> None:
    """Freeze the backbone and keep its features on disk, where data and network can and no option says otherwise.

    What is only read is read once: all rows of a domain the first time, none the next.

    Args:
        cfg: changed; to be assembled afterwards.
        words: the options that it was composed of.
    """
    if "cache_features" in cfg.data and "freeze_backbone" in cfg.net:
        cfg.data.cache_features = "data.cache_features=false" not in words
        cfg.net.freeze_backbone = bool(cfg.net.freeze_backbone or cfg.data.cache_features)


def drawn_rows(data: DomainData, role: Role, most: int | None = None, chosen: Tensor | None = None) -> Rows:
    """Return the rows that `features` encodes, with their labels; see there."""
    rows = training_rows(data, role)
    if chosen is None and most is not None and len(rows) > most:
        chosen = some_rows(len(rows), most, "features", role)
    return rows if chosen is None else Subset(rows, chosen)


@torch.no_grad()
def features(
    data: DomainData,
    net: Network,
    role: Role,
    most: int | None = None,
    labels: bool = False,
    chosen: Tensor | None = None,
) -> Features:
    """Encode the training rows of a domain: of the source those that are not held out.

    They are as they are scored, but where rows are held out: then the training rows are augmented, if they are in
    training, and `data.val_fraction=0` avoids it.

    Args:
        data: with which `net` was assembled.
        net: left in evaluation mode, and on its device.
        role: of the domain.
        most: at most so many rows, drawn at random, the same ones in every run.
        labels: whether those of the target may be seen; those of the source always are.
        chosen: the numbers of the rows to take, in place of `most`.
    """
    net.eval()
    columns: list[tuple[Tensor, ...]] = []
    for samples in data.eval_loader(drawn_rows(data, role, most, chosen), shared=False):
        inner = samples.x if net.reads_features else net.backbone(samples.x)
        z = net.bottleneck(inner)
        y = samples.y if labels or role == "source" else torch.full_like(samples.y, HIDDEN)
        columns.append((inner, z, net.head(z), y))
    return Features(*(torch.cat(column) for column in zip(*columns, strict=True)))


def training_rows(data: DomainData, role: Role) -> Rows:
    """Return the rows that are trained on, as they are scored if the domain holds none out."""
    domain = data.domain(role)
    return domain.val if len(domain.val) == len(domain.train) else domain.train


def raw_rows(data: DomainData, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the rows of both domains as vectors [n, d] and [m, d], as a network would read them; see `features`.

    Images are averaged down to 32 x 32 pixels; categories are one-hot. ValueError for texts, and for rows of more than
    20,000 numbers.
    """
    rows = [drawn_rows(data, role, most) for role in ("source", "target")]
    x = join_rows([_small(samples.x) for part in rows for samples in data.eval_loader(part, shared=False)])
    numbers = torch.cat([_one_hot(part) for part in (x.values() if isinstance(x, Mapping) else [x])], dim=1)
    if numbers.shape[1] > WIDE:
        raise ValueError(f"a row has {numbers.shape[1]} numbers, too many to compare as they are (at most {WIDE})")
    return numbers[: len(rows[0])], numbers[len(rows[0]) :]


def _small(x: Any) -> Any:
    if isinstance(x, Mapping):
        if "input_ids" in x:
            raise ValueError("texts can't be compared without a network")
        return x
    if x.ndim == 4 and max(x.shape[2:]) > PIXELS:
        return F.adaptive_avg_pool2d(x, PIXELS)
    return x


def _one_hot(x: Tensor) -> Tensor:
    """Columns of categories [n, q] as one column a category; numbers [n, ...] as they are, in a row."""
    if x.is_floating_point():
        return x.flatten(1)
    return torch.cat([F.one_hot(column - column.min()) for column in x.long().T], dim=1).float()
