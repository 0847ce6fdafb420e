"""Random numbers as a function of (seed, batch, process)."""

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from da.data.rows import stable_seed


class SeedEachBatch(Callback):
    """Seeds PyTorch before each batch, so that a run resumed after an epoch equals one never stopped.

    Without it every process would also draw the same dropout masks. It costs some 20 microseconds.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        torch.manual_seed(stable_seed(self.seed, "batch", pl_module.batches_seen, trainer.global_rank))
