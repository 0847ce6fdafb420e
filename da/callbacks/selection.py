"""Scores during and after training, and the one place where target labels are looked at."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pytorch_lightning import Callback, Trainer
from torchmetrics import ConfusionMatrix, Metric

from da.callbacks.calibration_errors import CalibrationErrors
from da.callbacks.validation import Validation
from da.record import VALIDATOR
from da.types import HIDDEN, Encoded, Role
from da.validators.base import Validator

Weights = Literal["last", "selected", "start"]
ORACLE = "oracle"
"""The selection metric that reads target labels."""
NORMALISED = "normalised/"
"""What the names of validators stand behind in the history of a run."""


class Scores(Callback):
    """Feeds what `validation_step` and `test_step` return to confusion matrices and validators.

    Target labels reach the target's confusion matrix only, whose accuracy is logged as
    `oracle/target_acc` during training. Validators get target rows whose labels are blanked, see `Validation`.

    Args:
        num_classes: of each domain, the size of its confusion matrix.
        validators: by name; those that read a domain which the method does not open are left out.
        selection_metric: name of the validator that picks `selected.ckpt`, or "oracle".
    """

    def __init__(
        self, num_classes: Mapping[Role, int], validators: Mapping[str, Validator], selection_metric: str
    ) -> None:
        self.matrices: dict[Role, Metric] = {
            role: ConfusionMatrix(task="multiclass", num_classes=c) for role, c in num_classes.items()
        }
        self.validation = Validation(validators)
        self.selection_metric = selection_metric
        if selection_metric not in {*validators, ORACLE}:
            raise ValueError(
                f"selection_metric={selection_metric} is no validator; there are {sorted(validators)} (or "
                f"{ORACLE!r}, which reads target labels)"
            )
        self.history: list[dict[str, float]] = []  # what each validation gave, by metric key
        self.test: dict[Weights, dict[Role, torch.Tensor]] = {}  # confusion matrices [c, c]
        self.calibration = CalibrationErrors()  # of the target's test rows
        self.calibrated: dict[Weights, list[float]] = {}  # its expected calibration error and Brier score
        self.weights: Weights = "last"  # those that the next test scores

    @property
    def monitor(self) -> str:
        """Metric key that picks the checkpoint; higher is better."""
        return "oracle/target_acc" if self.selection_metric == ORACLE else f"{VALIDATOR}{self.selection_metric}"

    def state_dict(self) -> dict[str, Any]:
        """Keep the scores of the epochs before a checkpoint, for the summary of a run resumed from it."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = list(state_dict["history"])

    def setup(self, trainer: Trainer, method: Any, stage: str) -> None:
        """Leave out the validators whose domains stay closed; ValueError if the selecting one is among them."""
        if stage == "test":
            return
        active = self.validation.open(method.evaluated, method.streams, method.data)
        if self.selection_metric not in {*active, ORACLE}:
            raise ValueError(
                f"selection_metric={self.selection_metric} needs the source, which {type(method).__name__} does not "
                f"open; {', '.join(sorted(active))} will do"
            )
        self.on_fit_start(trainer, method)

    def on_fit_start(self, trainer: Trainer, method: Any) -> None:
        for metric in (*self.matrices.values(), self.validation.rows, self.calibration):
            metric.to(method.device)

    def on_test_start(self, trainer: Trainer, method: Any) -> None:
        self.on_fit_start(trainer, method)

    def on_validation_batch_end(
        self, trainer: Trainer, method: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        role: Role = method.evaluated[dataloader_idx]
        self._count(role, outputs)
        self.validation.update(role, outputs)

    def on_validation_epoch_end(self, trainer: Trainer, method: Any) -> None:
        keys = {"source": "val/source_acc", "target": "oracle/target_acc"}
        accuracies = {keys[role]: _accuracy(self.matrices[role].compute()) for role in method.evaluated}
        values = {key: accuracy for key, accuracy in accuracies.items() if accuracy is not None}
        if self.monitor not in values and self.selection_metric == ORACLE:
            raise ValueError("selection_metric=oracle reads target labels, but the target has none")
        scores, normalised = self.validation.compute(method)
        values |= {f"{VALIDATOR}{name}": score for name, score in scores.items()}
        if not math.isfinite(values[self.monitor]):
            raise ValueError(f"selection_metric={self.selection_metric} is {values[self.monitor]}: take another one")
        for metric in self.matrices.values():
            metric.reset()
        method.log_dict({**values, "step": float(method.batches_seen)}, rank_zero_only=False)
        scaled = {f"{NORMALISED}{name}": score for name, score in normalised.items()}
        self.history.append({**values, **scaled, "epoch": float(trainer.current_epoch)})

    def on_test_batch_end(
        self, trainer: Trainer, method: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        role: Role = ("source", "target")[dataloader_idx]
        logits, y = self._count(role, outputs)
        if role == "target":
            self.calibration.update(logits, y)

    def _count(self, role: Role, rows: Encoded) -> tuple[torch.Tensor, torch.Tensor]:
        """Count predictions and labels of the rows that have one, and return logits and labels of these."""
        labelled = rows.y != HIDDEN  # a user's own target may have no labels, or few
        logits, y = rows.logits[labelled], rows.y[labelled]
        self.matrices[role].update(logits, y)
        return logits, y

    def on_test_epoch_end(self, trainer: Trainer, method: Any) -> None:
        tested = {role: matrix for role, matrix in self.matrices.items() if matrix.update_called}
        self.test[self.weights] = {role: matrix.compute().cpu() for role, matrix in tested.items()}
        if self.calibration.update_called:  # the start is tested on the source only
            self.calibrated[self.weights] = self.calibration.compute().tolist()
        for matrix in (*self.matrices.values(), self.calibration):
            matrix.reset()

    def summary(self) -> dict[str, Any]:
        """Return the parts of results.json that were measured here. Accuracies are fractions."""
        last = self.history[-1]
        tested = {weights: matrices for weights, matrices in self.test.items() if weights != "start"}
        oracle = "oracle/target_acc"
        best = max(self.history, key=lambda values: values.get(oracle, 0.0))
        chosen = max(self.history, key=lambda values: values[self.monitor])
        return {
            "test": {
                f"{role}_acc": {weights: _accuracy(matrices[role]) for weights, matrices in tested.items()}
                for role in ("source", "target")
            }
            | {
                "target_macro_f1": {w: _macro_f1(matrices["target"]) for w, matrices in tested.items()},
                **{
                    f"target_{name}": {w: _finite(self.calibrated[w][i]) for w in tested}
                    for i, name in enumerate(("ece", "brier"))
                },
                "target_class_acc": {w: _class_accuracies(matrices["target"]) for w, matrices in tested.items()},
            },
            "forgetting": self._forgetting(),
            "validators": _below(VALIDATOR, last),
            "validation_labels": self.validation.labels_seen,
            "selected": {"epoch": int(chosen["epoch"]), "validators": _below(VALIDATOR, chosen)},
            "epochs": [
                {
                    "epoch": int(values["epoch"]),
                    "source_acc": values.get("val/source_acc"),
                    "validators": _below(VALIDATOR, values),
                    "normalised": _below(NORMALISED, values),
                    "oracle": {"target_acc": values.get(oracle)},
                }
                for values in self.history
            ],
            "oracle": {
                "best_target_acc": best.get(oracle),
                "best_epoch": int(best["epoch"]),
                "last_target_acc": last.get(oracle),
                "selected_target_acc": chosen.get(oracle),
            },
        }

    def _forgetting(self) -> dict[str, float] | None:
        """Return the source accuracy before training, and how much less it is after; None for an untrained start."""
        accuracies = {weights: _accuracy(matrices["source"]) for weights, matrices in self.test.items()}
        before = accuracies.pop("start", None)
        if before is None:
            return None
        lost: dict[str, float] = {weights: before - after for weights, after in accuracies.items() if after is not None}
        return {"before": before, **lost}


def _below(prefix: str, values: Mapping[str, float]) -> dict[str, float | None]:
    """Return the values whose names begin so, without it; None for one that is no number."""
    found = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    return {name: _finite(value) for name, value in found.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _accuracy(confusion: torch.Tensor) -> float | None:
    """Fraction of the labelled rows that are right, None where no row has a label."""
    return int(confusion.trace()) / int(confusion.sum()) if confusion.sum() else None


def _macro_f1(confusion: torch.Tensor) -> float | None:
    """Mean F1 score of the classes that have rows or predictions, None where no row has a label."""
    right, rows, predicted = confusion.diag().double(), confusion.sum(dim=1), confusion.sum(dim=0)
    there = (rows + predicted) > 0
    return float((2 * right / (rows + predicted))[there].mean()) if confusion.sum() else None


def _class_accuracies(confusion: torch.Tensor) -> list[float | None]:
    """Recall of each class, None where it has no rows."""
    rows = confusion.sum(dim=1)
    return [int(confusion[c, c]) / int(rows[c]) if rows[c] else None for c in range(len(confusion))]
