"""A memory of rows that were seen before: their features and predictions."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from da.distributed import gather


class Neighbours(NamedTuple):
    """Places in the bank, nearest first."""

    slots: Tensor  # [n, k]
    valid: Tensor  # [n, k]  False where the bank holds fewer than k other rows


class Bank(nn.Module):
    """The latest `capacity` rows of a stream, keyed by their number in the data set.

    A row that is seen again takes the place of its old entry; when the bank is full the oldest entries leave. Features
    are kept divided by their norm, so that products are cosines. Entries carry no gradient and are saved in the
    state_dict: `capacity` x (feature_dim + num_classes) numbers.
    """

    features: Tensor
    predictions: Tensor
    index: Tensor
    age: Tensor
    clock: Tensor

    def __init__(self, capacity: int, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.register_buffer("features", torch.zeros(capacity, feature_dim))
        self.register_buffer("predictions", torch.zeros(capacity, num_classes))
        self.register_buffer("index", torch.full((capacity,), -1))  # -1: empty
        self.register_buffer("age", torch.zeros(capacity, dtype=torch.long))  # the clock when it was written
        self.register_buffer("clock", torch.ones((), dtype=torch.long))  # rows written so far, and 1

    @torch.no_grad()
    def write(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"], predictions: Float[Tensor, "n c"]) -> None:
        """Enter the rows of all processes, so that each holds the same bank. In evaluation mode nothing is written.

        Of a row that stands twice in the batch the last stays. ValueError for a batch larger than the bank.
        """
        if not self.training:
            return
        index = gather(index)
        z, predictions = gather(F.normalize(z.detach(), dim=1)), gather(predictions.detach())
        if len(index) > len(self.index):
            raise ValueError(f"capacity={len(self.index)} is less than the {len(index)} rows of a batch")
        order = torch.arange(len(index), device=index.device)
        last = torch.where(index[:, None] == index[None, :], order, -1).amax(dim=1)
        slots = self._slots(index, is_last=last == order)[last]
        # a row that stands twice is written twice, with the same numbers: no order of writing changes the outcome
        self.features[slots] = z[last].to(self.features.dtype)
        self.predictions[slots] = predictions[last].to(self.predictions.dtype)
        self.index[slots] = index
        self.age[slots] = self.clock + last
        self.clock += len(index)

    def _slots(self, index: Int[Tensor, " n"], is_last: Bool[Tensor, " n"]) -> Int[Tensor, " n"]:
        """Place of each row: its own if it is in the bank, else the next of the oldest places."""
        same = index[:, None] == self.index[None, :]
        known = same.any(dim=1)
        age = torch.where(same.any(dim=0), torch.iinfo(torch.long).max, self.age)
        oldest = age.topk(len(index), largest=False).indices
        turn = ((~known & is_last).cumsum(dim=0) - 1).clamp_min(0)
        return torch.where(known, same.to(torch.uint8).argmax(dim=1), oldest[turn])

    @torch.no_grad()
    def neighbours(self, index: Int[Tensor, " n"], z: Float[Tensor, "n d"], k: int) -> Neighbours:
        """Return the k entries of largest cosine with each row of z; a row is never its own neighbour.

        ValueError for k larger than the bank.
        """
        if k > len(self.index):
            raise ValueError(f"{k} neighbours were asked of a bank of capacity={len(self.index)}")
        cosine = F.normalize(z.detach(), dim=1).to(self.features.dtype) @ self.features.T
        out = (self.index[None, :] < 0) | (self.index[None, :] == index[:, None])
        nearest = cosine.masked_fill(out, -torch.inf).topk(k, dim=1)
        return Neighbours(nearest.indices, nearest.values > -torch.inf)
