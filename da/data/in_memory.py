"""Rows that are in memory already, such as the arrays that `da.sklearn` is given."""

from typing import Any, final

import torch
from torch import Tensor

from da.data.base import Domain, DomainData
from da.data.rows import Joined, Rows, TensorRows
from da.types import HIDDEN, Role


@final
class InMemory(DomainData):
    """Rows x [N, ...] of one or more sources and targets, told apart by the sign of their domain, as in skada.

    All source rows train, all target rows are adapted to. They are also what is scored: nothing is held out. Without
    target rows the source takes their place.

    Args:
        x: what the network takes, [N, ...].
        y: class indices [N]; those of target rows are not read.
        domain: [N], positive for the rows of a source, negative for those of a target; several of one sign are
            several domains, and every batch holds equally many rows of each.
        num_features: of vectors x [N, d]; this and the next two are facts for the network's configuration.
        num_channels, length: of series x [N, c, t].
        settings: of `DomainData`.
    """

    available = frozenset({"source", "target"})

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        domain: Tensor,
        num_features: int | None = None,
        num_channels: int | None = None,
        length: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.x, self.y, self.domain_of = x, y, domain

    def names(self) -> dict[Role, str]:
        return {"source": "source", "target": "target" if (self.domain_of < 0).any() else "source"}

    def hashes(self) -> dict[str, str]:
        return {}

    def read(self, role: Role) -> Domain:
        name = self.names()[role]
        own = self.domain_of > 0 if name == "source" else self.domain_of < 0
        parts = [self._rows(int(number)) for number in self.domain_of[own].unique()]
        rows: Rows = parts[0] if len(parts) == 1 else Joined(parts)
        return Domain(name, rows, rows, rows)

    def _rows(self, number: int) -> TensorRows:
        rows = self.domain_of == number
        y = self.y[rows] if number > 0 else torch.full((int(rows.sum()),), HIDDEN)
        return TensorRows(self.x[rows], y, number)
