"""Ends a run whose search has seen enough of it."""

import os
from typing import Any

from pytorch_lightning import Callback, Trainer

from da.callbacks.selection import ORACLE, Scores
from da.record import PrunedError
from da.sweep.endings import TRIAL


class Pruning(Callback):
    """Reports the selection metric of every validation to the study, and ends the run if the study says so.

    Raises:
        ValueError: the selection metric reads target labels.
        PrunedError: on all processes, where the trial is worse than the median of the others at this epoch.
    """

    def __init__(self, scores: Scores, trial: str) -> None:
        from da.sweep.search import open_trial  # Optuna is an extra

        if scores.selection_metric == ORACLE:
            raise ValueError("selection_metric=oracle reads target labels, and a search is to do without them")
        self.scores = scores
        self.trial = open_trial(trial)

    def on_validation_end(self, trainer: Trainer, method: Any) -> None:
        value, epoch = self.scores.history[-1][self.scores.monitor], trainer.current_epoch
        stop = False
        if trainer.is_global_zero:
            self.trial.report(value, epoch)
            stop = self.trial.should_prune()
        if trainer.strategy.broadcast(stop):
            raise PrunedError(f"at epoch {epoch + 1}: {self.scores.selection_metric} {value:.4g} is below the median")


def pruning(scores: Scores) -> list[Pruning]:
    """Return what prunes this run, if it is a trial of a search."""
    return [Pruning(scores, os.environ[TRIAL])] if TRIAL in os.environ else []
