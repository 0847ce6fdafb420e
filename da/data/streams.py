"""The training streams: which domain each one reads, how long they are together, which rows they show."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from da.data.rows import Rows, Subset, stable_seed
from da.types import HIDDEN, Role

Split = Literal["val", "test"]
Pairing = Literal["max", "min", "source", "target"]
Balance = Literal["domain", "class", "none"]

SAME_ROWS = {"target_strong": "target", "labeled_twin": "labeled"}
"""Streams that draw the rows of another one."""

LABEL_STREAMS = frozenset({"labeled", "labeled_twin", "oracle"})
"""Streams that show target labels; a run that opens one says so in its results."""


def batches_per_epoch(policy: int | Pairing | None, passes: Mapping[str, int]) -> int:
    """Return the batches in an epoch, given how many it takes to pass the rows of each stream."""
    if isinstance(policy, int):
        return policy
    if policy in ("max", None):
        return max(passes.values())
    if policy == "min":
        return min(passes.values())
    if policy not in passes:
        raise ValueError(f"data.steps_per_epoch={policy}, but the streams of this method are {sorted(passes)}")
    return passes[policy]


def balanced_groups(rows: Rows, stream: str, balance: Mapping[str, Balance]) -> list[Tensor]:
    """Return the row numbers of the groups of which each batch holds equally many; none: rows as they come."""
    by = balance.get(SAME_ROWS.get(stream, stream), "domain")
    if by == "class" and (rows.y == HIDDEN).any():
        raise ValueError(f"data.balance.{stream}=class, but the labels of stream {stream!r} are hidden")
    keys = {"class": rows.y, "domain": rows.domains}.get(by)
    groups = [] if keys is None else [(keys == key).nonzero().flatten() for key in keys.unique()]
    return groups if len(groups) > 1 else []


def labelled_rows(rows: Rows) -> Rows:
    """Return the rows that have a label; ValueError if none has."""
    labelled = (rows.y != HIDDEN).nonzero().flatten()
    if not len(labelled):
        raise ValueError("this method reads target labels, but the target has none")
    return rows if len(labelled) == len(rows) else Subset(rows, labelled)


def some_rows(n: int, most: int, *seed: str) -> Tensor:
    """Return the numbers of at most so many of n rows, in their order, the same ones every time."""
    if n <= most:
        return torch.arange(n)
    generator = torch.Generator().manual_seed(stable_seed(*seed))
    return torch.randperm(n, generator=generator)[:most].sort().values


def few_rows(
    y: Tensor, labels_per_class: int, num_classes: int, seed: int, option: str = "data.labels_per_class"
) -> Tensor:
    """Return the numbers of `labels_per_class` rows of every class, drawn by the seed; `option` is who asks."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(stable_seed(seed, "labeled")))
    chosen = [order[y[order] == c][:labels_per_class] for c in range(num_classes)]
    for c, rows in enumerate(chosen):
        if len(rows) < labels_per_class:
            raise ValueError(f"{option}={labels_per_class}, but class {c} has {len(rows)} target rows")
    return torch.cat(chosen)


def without_few(y: Tensor, labels_per_class: int, num_classes: int, seed: int) -> Tensor:
    """Return the labels with those of the stream `labeled` hidden: `few_rows` of the rows that have a label."""
    rows, rest = (y != HIDDEN).nonzero().flatten(), y.clone()
    rest[rows[few_rows(y[rows], labels_per_class, num_classes, seed)]] = HIDDEN
    return rest


def check_labels(role: Role, name: str, parts: Mapping[str, Rows], classes: int) -> None:
    """Raise ValueError for a label that is no class; of the target some or all may be hidden."""
    lowest = HIDDEN if role == "target" else 0  # a target without labels can be adapted to, but not scored
    for split, rows in parts.items():
        if len(rows) and not lowest <= int(rows.y.min()) <= int(rows.y.max()) < classes:
            raise ValueError(
                f"data.num_classes={classes}, but the {split} labels of the {role} domain "
                f"{name!r} run from {int(rows.y.min())} to {int(rows.y.max())}"
            )
