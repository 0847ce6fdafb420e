"""What a network, as it is, makes of the rows of a domain."""

from typing import NamedTuple

import torch
from torch import Tensor

from da.data.base import DomainData
from da.data.rows import Rows, Subset, stable_seed
from da.models.network import Network
from da.types import HIDDEN, Role


class Features(NamedTuple):
    """Rows of one domain after the network in evaluation mode."""

    backbone: Tensor  # [n, backbone's out_dim], or what was cached of it
    z: Tensor  # [n, feature_dim]
    logits: Tensor  # [n, c]
    y: Tensor  # [n], HIDDEN where the label must not be seen


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
    rows = training_rows(data, role)
    if chosen is not None:
        rows = Subset(rows, chosen)
    elif most is not None and len(rows) > most:
        generator = torch.Generator().manual_seed(stable_seed("features", role))
        rows = Subset(rows, torch.randperm(len(rows), generator=generator)[:most].sort().values)
    net.eval()
    columns: list[tuple[Tensor, ...]] = []
    for samples in data.eval_loader(rows, shared=False):
        inner = samples.x if net.reads_features else net.backbone(samples.x)
        z = net.bottleneck(inner)
        y = samples.y if labels or role == "source" else torch.full_like(samples.y, HIDDEN)
        columns.append((inner, z, net.head(z), y))
    return Features(*(torch.cat(column) for column in zip(*columns, strict=True)))


def training_rows(data: DomainData, role: Role) -> Rows:
    """Return the rows that are trained on, as they are scored if the domain holds none out."""
    domain = data.domain(role)
    return domain.val if len(domain.val) == len(domain.train) else domain.train
