"""Random numbers as a function of (seed, epoch, process)."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from da.data.rows import stable_seed


class SeedEachEpoch(Callback):
    """Seeds PyTorch before each epoch, so that a run resumed after an epoch equals one never stopped.

    Without it every process would also draw the same dropout masks.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.manual_seed(stable_seed(self.seed, "epoch", trainer.current_epoch, trainer.global_rank))
