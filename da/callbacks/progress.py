"""A progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Collection
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import TQDMProgressBar

from da.record import VALIDATOR


class ProgressLines(Callback):
    """One line an epoch: batches done, the scores of some validators, time left. Never a target accuracy."""

    def __init__(self, label: str, shown: Collection[str]) -> None:
        self.label, self.shown = label, shown
        self.start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        done, planned = trainer.current_epoch + 1, trainer.max_epochs or 1
        seconds = time.monotonic() - self.start
        scores = "  ".join(
            f"{key.rpartition('/')[2]} {float(value):.3f}"
            for key, value in sorted(trainer.callback_metrics.items())
            if key.startswith(VALIDATOR) and key.rpartition("/")[2] in self.shown
        )
        left = seconds / done * (planned - done)
        print(f"{self.label}  epoch {done}/{planned}  {scores}  {seconds:.0f} s, {left:.0f} s left", flush=True)


class ProgressBar(TQDMProgressBar):
    """Lightning's bar without the version number of the logger."""

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


def make_progress(label: str, shown: Collection[str]) -> Callback:
    """Return a bar where somebody watches a terminal, lines with the `shown` validators where a log is written."""
    return ProgressBar(leave=True) if on_terminal() else ProgressLines(label, shown)


def on_terminal() -> bool:
    """Whether somebody watches the output."""
    return sys.stdout.isatty()
