"""Datasets that are indexed by a whole batch of row numbers."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from da.types import HIDDEN, Samples


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

    def __len__(self) -> int:
        return len(self.y)

    @abstractmethod
    def __getitem__(self, draw: Draw) -> Samples: ...


class TensorRows(Rows):
    """Rows held in memory as one tensor `x` [N, ...], with labels `y` [N], of one domain."""

    def __init__(self, x: Tensor, y: Tensor, domain: int, transform: Transform | None = None) -> None:
        self.x, self.y, self.domain, self.transform = x, y.long(), domain, transform

    def __getitem__(self, draw: Draw) -> Samples:
        x = self.x[draw.rows]
        if self.transform is not None:
            x = self.transform(x, draw)
        return Samples(x, self.y[draw.rows], torch.full_like(draw.rows, self.domain), draw.rows)


class Subset(Rows):
    """Some rows of another data set, numbered anew from 0."""

    def __init__(self, rows: Rows, chosen: Tensor) -> None:
        self.rows, self.chosen = rows, chosen
        self.y = rows.y[chosen]

    def __getitem__(self, draw: Draw) -> Samples:
        return self.rows[Draw(self.chosen[draw.rows], draw.seed)]._replace(index=draw.rows)


class Hidden(Rows):
    """The same rows without their labels."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.y = torch.full_like(rows.y, HIDDEN)

    def __getitem__(self, draw: Draw) -> Samples:
        samples = self.rows[draw]
        return samples._replace(y=torch.full_like(samples.y, HIDDEN))


class StreamSampler(Sampler[Draw]):
    """Training batches as a pure function of (seed, stream, epoch, step), dealt over the ranks.

    `batch_size` counts the rows of all processes together: a run on two processes sees the batches of
    the run on one, each rank its contiguous share. The rows are passed in a new random order each time
    round; a last incomplete batch is dropped. A resumed run needs no state but the epoch.
    """

    def __init__(
        self, num_rows: int, batch_size: int, steps: int, seed: int, stream: str, rank: int = 0, world: int = 1
    ) -> None:
        if batch_size % world:
            raise ValueError(
                f"batch_size {batch_size} of stream {stream!r} can't be shared evenly by {world} processes"
            )
        self.num_rows, self.batch_size, self.steps, self.seed, self.stream = num_rows, batch_size, steps, seed, stream
        self.share = batch_size // world
        self.first = rank * self.share
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        batches_a_pass = self.num_rows // self.batch_size
        order, current = torch.empty(0, dtype=torch.long), -1
        for t in range(self.epoch * self.steps, (self.epoch + 1) * self.steps):
            number, k = divmod(t, batches_a_pass)
            if number != current:
                generator = torch.Generator().manual_seed(stable_seed(self.seed, self.stream, number))
                order, current = torch.randperm(self.num_rows, generator=generator), number
            first = k * self.batch_size + self.first
            yield Draw(order[first : first + self.share], stable_seed(self.seed, self.stream, "draw", t))


class EvalSampler(Sampler[Draw]):
    """Every row once, in order; each rank a contiguous part, none repeated to make the parts equal."""

    def __init__(self, num_rows: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.batches = torch.arange(num_rows).tensor_split(world)[rank].split(batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Draw]:
        return (Draw(rows, 0) for rows in self.batches)
