"""How many rows a second are trained on."""

import time
from typing import Any

from pytorch_lightning import Callback, Trainer

from da.distributed import world_size
from da.types import Batch


class Throughput(Callback):
    """Counts the rows of all streams and processes, and the time that their batches take; validation is left out.

    The first batch, which warms everything up, is left out too.
    """

    def __init__(self) -> None:
        self.rows, self.seconds = 0, 0.0
        self.since: float | None = None

    def on_train_batch_end(
        self, trainer: Trainer, method: Any, outputs: Any, batch: Batch | list[Batch], batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if self.since is not None:
            parts = batch if isinstance(batch, list) else [batch]  # of each seed, in a stack
            self.rows += world_size() * sum(len(samples.y) for part in parts for samples in part.values())
            self.seconds += now - self.since
        self.since = now

    def on_validation_start(self, trainer: Trainer, method: Any) -> None:
        self.since = None

    def on_train_epoch_start(self, trainer: Trainer, method: Any) -> None:
        self.since = None

    @property
    def samples_per_second(self) -> float | None:
        """Rows a second since this process began; None if it trained on fewer than two batches."""
        return self.rows / self.seconds if self.seconds else None
