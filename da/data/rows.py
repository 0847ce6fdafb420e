"""Datasets that are indexed by a whole batch of row numbers."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from da.types import HIDDEN, Samples, join_rows, take_rows


def stable_seed(*parts: object) -> int:
    """Return a seed below 2**63 that depends on `parts` only: not on the process, the machine or the Python version."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


class Draw(NamedTuple):
    """The rows of one batch, and the seed of whatever is random about them."""

    rows: Tensor  # [n] row numbers
    seed: int  # of this draw; augmentations are a function of (seed, row) only


def uniform(draw: Draw, columns: int) -> Tensor:
    """Random numbers in [0, 1), [n, columns], as a function of (draw.seed, row) only.

    So an augmented row is the same row on one process or on eight, in a worker or not. SplitMix64
    (Steele, Lea & Flood 2014) of a counter.
    """
    with np.errstate(over="ignore"):
        rows = draw.rows.numpy().astype(np.uint64)[:, None]
        counter = rows * np.uint64(columns) + np.arange(1, columns + 1, dtype=np.uint64)
        z = (counter * np.uint64(0x9E3779B97F4A7C15) + np.uint64(draw.seed)).astype(np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return torch.from_numpy((z >> np.uint64(40)).astype(np.float32) / 2.0**24)


Transform = Callable[[Any, Draw], Any]
"""x [n, ...] of a draw -> x [n, ...] for the network."""


class Rows(Dataset[Samples], ABC):
    """A data set fetched a whole batch at a time: `rows[draw]` is a batch of `Samples`.

    One row at a time costs 6 to 60 times as much for small images.
    """

    y: Tensor  # [N] the labels of all rows
    domains: Tensor  # [N] the domain of every row

    def __len__(self) -> int:
        return len(self.y)

    @abstractmethod
    def __getitem__(self, draw: Draw) -> Samples: ...


class TensorRows(Rows):
    """Rows of one domain as one tensor `x` [N, ...], in memory or mapped from a file, or a mapping of such.

    The labels are `y` [N]; `transform` acts on a whole batch of x.
    """

    def __init__(self, x: Any, y: Tensor, domain: int, transform: Transform | None = None) -> None:
        self.x, self.y, self.domain, self.transform = x, y.long(), domain, transform
        self.domains = torch.full_like(self.y, domain)

    def __getitem__(self, draw: Draw) -> Samples:
        x = take_rows(self.x, draw.rows)
        if self.transform is not None:
            x = self.transform(x, draw)
        return Samples(x, self.y[draw.rows], torch.full_like(draw.rows, self.domain), draw.rows)


class Joined(Rows):
    """The rows of several data sets below one another, such as those of several source domains."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = tuple(parts)
        self.y = torch.cat([part.y for part in parts])
        self.domains = torch.cat([part.domains for part in parts])
        self.first = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)  # row number of each part's first

    def __getitem__(self, draw: Draw) -> Samples:
        owner = torch.bucketize(draw.rows, self.first[1:], right=True)
        samples, places = [], []
        for k in owner.unique().tolist():
            place = (owner == k).nonzero().flatten()
            own = Draw(draw.rows[place] - self.first[k], stable_seed(draw.seed, k))
            samples.append(self.parts[k][own])
            places.append(place)
        order = torch.cat(places).argsort()
        x = take_rows(join_rows([part.x for part in samples]), order)
        y, domain = (torch.cat(column)[order] for column in zip(*((s.y, s.domain) for s in samples), strict=True))
        return Samples(x, y, domain, draw.rows)


class Subset(Rows):
    """Some rows of another data set, numbered anew from 0."""

    def __init__(self, rows: Rows, chosen: Tensor) -> None:
        self.rows, self.chosen = rows, chosen
        self.y, self.domains = rows.y[chosen], rows.domains[chosen]

    def __getitem__(self, draw: Draw) -> Samples:
        return self.rows[Draw(self.chosen[draw.rows], draw.seed)]._replace(index=draw.rows)


class Hidden(Rows):
    """The same rows without their labels."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.y, self.domains = torch.full_like(rows.y, HIDDEN), rows.domains

    def __getitem__(self, draw: Draw) -> Samples:
        samples = self.rows[draw]
        return samples._replace(y=torch.full_like(samples.y, HIDDEN))


class Twin(Rows):
    """The same rows under another draw of whatever is random about them."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.y, self.domains = rows, rows.y, rows.domains

    def __getitem__(self, draw: Draw) -> Samples:
        return self.rows[Draw(draw.rows, stable_seed(draw.seed, "twin"))]


def hold_out(rows: Rows, fraction: float) -> tuple[Rows, Rows]:
    """Split rows into (train, val), the same way in every run: `fraction` of them, drawn at random, are val."""
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"val_fraction must lie between 0 and 1, got {fraction}")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(stable_seed("hold_out")))
    n = max(1, round(fraction * len(rows)))
    return Subset(rows, order[n:].sort().values), Subset(rows, order[:n].sort().values)
