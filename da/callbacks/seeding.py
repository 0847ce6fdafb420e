"""Random numbers as a function of (seed, batch, process)."""

from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from da.data.rows import stable_seed


class SeedEachBatch(Callback):
    """Seeds PyTorch before each batch, so that a run that goes on after any batch equals one never stopped.

    Without it every process would also draw the same dropout masks.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        seed_generators(stable_seed(self.seed, "batch", pl_module.batches_seen, trainer.global_rank), pl_module.device)


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed what draws on the processor and on `device`, as `torch.manual_seed` does, in microseconds.

    That one seeds every kind of device. For those that were never used it keeps the call for later, with a formatted
    stack trace: half a millisecond and a growing list, which is a tenth of a step of a small network.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)
