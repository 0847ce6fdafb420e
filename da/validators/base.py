"""What a validator is."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from da.types import Encoded, Role


class Validator(Metric):
    """Scores a model from source and target rows; target labels have been blanked before it sees them.

    Higher is better, for every validator. States are torchmetrics states, so a score over several
    processes equals the score over one.
    """

    higher_is_better = True
    full_state_update = False
    reads: frozenset[Role] = frozenset({"target"})
    """The domains it needs; without one of them the validator is left out."""

    @abstractmethod
    def update(self, role: Role, rows: Encoded) -> None: ...

    @abstractmethod
    def compute(self) -> Float[Tensor, ""]: ...


class RowsSeen(Validator):
    """A validator that needs all target logits at once."""

    logits: Any  # a list of [n, c] until torchmetrics concatenates it over the processes

    def __init__(self) -> None:
        super().__init__()
        self.add_state("logits", [], dist_reduce_fx="cat")

    def update(self, role: Role, rows: Encoded) -> None:
        if role == "target":
            self.logits.append(rows.logits.detach().float())

    def all_logits(self) -> Float[Tensor, "n c"]:
        """Return the target logits of all batches and processes."""
        return torch.cat(self.logits) if isinstance(self.logits, list) else self.logits
