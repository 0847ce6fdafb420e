"""The latest keys of every class, for terms that contrast a row with many others."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from da.distributed import gather


class ClassQueue(nn.Module):
    """The latest `capacity` keys of each class, the same ones on every process.

    Keys carry no gradient and are saved in the state dict: `num_classes` x `capacity` x `width` numbers. The queue
    starts empty. Raises ValueError unless the capacity is at least 1.
    """

    keys: Tensor
    written: Tensor

    def __init__(self, num_classes: int, capacity: int, width: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.register_buffer("keys", torch.zeros(num_classes, capacity, width, dtype=dtype))
        self.register_buffer("written", torch.zeros(num_classes, dtype=torch.long))  # rows of each class so far

    @property
    def capacity(self) -> int:
        return self.keys.shape[1]

    @torch.no_grad()
    def write(self, keys: Float[Tensor, "n d"], y: Int[Tensor, " n"]) -> None:
        """Enter the rows of all processes in their order; the oldest of a class leave. Not in evaluation mode.

        Of more than `capacity` rows of a class the last stay.
        """
        if not self.training:
            return
        keys, y = gather(keys.detach()), gather(y)
        of_class = y[:, None] == torch.arange(len(self.written), device=y.device)
        turn = of_class.cumsum(dim=0).gather(1, y[:, None]).squeeze(1) - 1  # number among the rows of its class
        count = of_class.sum(dim=0)
        stays = turn >= count[y] - self.capacity  # two rows in one place would be written in no certain order
        slots = (self.written[y] + turn) % self.capacity
        self.keys[y[stays], slots[stays]] = keys[stays].to(self.keys.dtype)
        self.written += count

    def rows(self) -> tuple[Float[Tensor, "k d"], Int[Tensor, " k"], Bool[Tensor, " k"]]:
        """Return all places one below the other: keys, their classes, and whether there is a key yet."""
        places = torch.arange(self.capacity, device=self.written.device)
        filled = (places < self.written[:, None]).flatten()
        classes = torch.arange(len(self.written), device=self.written.device).repeat_interleave(self.capacity)
        return self.keys.flatten(0, 1), classes, filled
