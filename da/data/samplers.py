"""Which rows a batch holds: pure functions of the seed and of the batch's number."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

from da.data.rows import Draw, stable_seed

Orders = dict[int, tuple[int, Tensor]]
"""By group: the number of the pass that it is in, and the order of the rows in that pass."""


class StreamSampler(Sampler[Draw]):
    """Training batches as a pure function of (seed, stream, epoch, step), dealt over the ranks.

    `batch_size` counts the rows of all processes together: a run on two processes sees the batches of
    the run on one, each rank its contiguous share. The rows are passed in a new random order each time
    round; a last incomplete batch is dropped. A resumed run needs no state but the number of the batch.

    With `groups` (row numbers of each domain, or of each class) the places of all batches, one after the other, are
    dealt to the groups in turn, and each group's rows are passed in random orders of their own: batches hold equally
    many rows of every group, or one more or less where the sizes don't divide, whatever the sizes of the groups.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        steps: int,
        seed: int,
        stream: str,
        rank: int = 0,
        world: int = 1,
        groups: Sequence[Tensor] = (),
    ) -> None:
        if batch_size % world:
            raise ValueError(
                f"batch_size {batch_size} of stream {stream!r} can't be shared evenly by {world} processes"
            )
        self.num_rows, self.batch_size, self.steps, self.seed, self.stream = num_rows, batch_size, steps, seed, stream
        self.groups = tuple(groups)
        self.share = batch_size // world
        self.first = rank * self.share
        self.epoch = self.done = 0

    def __len__(self) -> int:
        return self.steps

    def go_on(self, epoch: int, done: int) -> None:
        """Begin with this epoch, after as many of its batches as are done."""
        self.epoch, self.done = epoch, done

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Draw]:
        orders: Orders = {}
        batch = self._balanced if self.groups else self._shuffled
        first, self.done = self.epoch * self.steps + self.done, 0
        for t in range(first, (self.epoch + 1) * self.steps):
            rows = batch(t, orders)[self.first : self.first + self.share]
            yield Draw(rows, stable_seed(self.seed, self.stream, "draw", t))

    def _shuffled(self, t: int, orders: Orders) -> Tensor:
        number, k = divmod(t, self.num_rows // self.batch_size)
        order = self._order(orders, 0, number, self.num_rows, (self.seed, self.stream, number))
        return order[k * self.batch_size : (k + 1) * self.batch_size]

    def _balanced(self, t: int, orders: Orders) -> Tensor:
        places = t * self.batch_size + torch.arange(self.batch_size)
        rows = torch.empty_like(places)
        for g, group in enumerate(self.groups):
            own = (places % len(self.groups) == g).nonzero().flatten()
            positions = places[own] // len(self.groups)
            for number in (positions // len(group)).unique().tolist():
                order = self._order(orders, g, number, len(group), (self.seed, self.stream, "group", g, number))
                now = positions // len(group) == number
                rows[own[now]] = group[order[positions[now] % len(group)]]
        return rows

    @staticmethod
    def _order(orders: Orders, g: int, number: int, size: int, key: tuple[object, ...]) -> Tensor:
        if orders.get(g, (None,))[0] != number:
            generator = torch.Generator().manual_seed(stable_seed(*key))
            orders[g] = number, torch.randperm(size, generator=generator)
        return orders[g][1]


class EvalSampler(Sampler[Draw]):
    """Every row once, in order; each rank a contiguous part, none repeated to make the parts equal."""

    def __init__(self, num_rows: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.batches = torch.arange(num_rows).tensor_split(world)[rank].split(batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Draw]:
        return (Draw(rows, 0) for rows in self.batches)
