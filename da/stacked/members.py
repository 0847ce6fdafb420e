"""What happens to the runs of a stack besides training: losses written, rows scored, failures set aside."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from da.callbacks.selection import Weights
from da.stacked.member import Member
from da.stacked.stack import Stack, one_of
from da.terms.base import Losses


class AllFailedError(Exception):
    """No run of the stack is left to train."""


class Members(Callback):
    """Does for every run of a stack what the callbacks and loggers of a run by itself do.

    A run whose loss is not finite, or whose scores are refused, keeps its error and is left alone from then on: its
    place in the stack is filled with a copy of a run that is well, so that nothing of it can reach the others.

    Args:
        members: the runs.
        label: what stands before the lines that tell of the progress.
        begin: called before the first batch.
    """

    def __init__(self, members: list[Member], label: str, begin: Callable[[], None]) -> None:
        self.members, self.label, self.begin = members, label, begin
        self.start = 0.0

    @property
    def well(self) -> list[Member]:
        """The runs that have not failed."""
        return [member for member in self.members if member.error is None]

    def _well_of(self, seed: int) -> list[Member]:
        return [member for member in self.well if member.seed == seed]

    def setup(self, trainer: Trainer, stack: Any, stage: str) -> None:
        for member in self.members:
            member.scores.setup(trainer, member, stage)

    def on_train_start(self, trainer: Trainer, stack: Any) -> None:
        self.start = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, stack: Any, batch: Any, batch_idx: int) -> None:
        if stack.batches_seen == 1:
            self.begin()

    def on_train_batch_end(self, trainer: Trainer, stack: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        losses: Losses = outputs["losses"]
        if not torch.isfinite(losses.total).all():
            self._set_aside(trainer, stack, losses)
        if stack.method.batches_seen % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log(trainer, stack, losses)

    def _set_aside(self, trainer: Trainer, stack: Stack, losses: Losses) -> None:
        for member in self.well:
            try:
                one_of(losses, member.number).check_finite()
            except FloatingPointError as error:
                member.error = FloatingPointError(f"{error} at batch {member.batches_seen}")
        self._refill(trainer, stack)

    def _refill(self, trainer: Trainer, stack: Stack) -> None:
        """Put a copy of a run that is well in the place of each that has failed."""
        if not self.well:
            raise AllFailedError
        source = self.well[0].number
        (optimizer,) = trainer.optimizers
        moments = [[optimizer.state[own] for own in slices] for slices in stack.slices.values()]
        alike: list[Any] = [*stack.stacked().values()]
        alike += [[state[name] for state in of_runs] for of_runs in moments for name in _tensors(of_runs[source])]
        with torch.no_grad():
            for values in alike:
                for member in self.members:
                    if member.error is not None:
                        values[member.number].copy_(values[source])
        stack.weights = [
            own if member.error is None else stack.weights[source]
            for own, member in zip(stack.weights, self.members, strict=True)
        ]

    def _log(self, trainer: Trainer, stack: Stack, losses: Losses) -> None:
        values = {"train/loss": losses.total}
        values |= {f"train/{name}": value for name, value in {**losses.parts, **losses.measures}.items()}
        values |= {f"train/weight/{name}": torch.as_tensor(weight) for name, weight in losses.weights.items()}
        columns = torch.stack([value.detach().double() for value in values.values()], dim=1).tolist()
        same = {f"train/reversal/{name}": strength for name, strength in losses.reversals.items()}
        same["train/lr"] = trainer.optimizers[0].param_groups[-1]["lr"]
        for member in self.well:
            record = dict(zip(values, columns[member.number], strict=True)) | same
            member.logger.log_metrics(record, step=member.batches_seen)

    def on_validation_batch_end(
        self, trainer: Trainer, stack: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        seed, loader = divmod(dataloader_idx, len(stack.method.evaluated))
        for member in self._well_of(seed):
            part = member.part_of(outputs)
            member.scores.on_validation_batch_end(trainer, member, part, batch, batch_idx, loader)

    def on_validation_epoch_end(self, trainer: Trainer, stack: Any) -> None:
        for member in self.well:
            try:
                member.scores.on_validation_epoch_end(trainer, member)
                member.keep_if_best()
            except Exception as error:  # of this run alone
                member.error = error
            member.logger.save()
        if len(self.well) < len(self.members):
            self._refill(trainer, stack)
        self._tell(trainer)

    def _tell(self, trainer: Trainer) -> None:
        done, planned = trainer.current_epoch + 1, trainer.max_epochs or 1
        seconds = time.monotonic() - self.start
        scores = self.well[0].scores
        values = [member.scores.history[-1][scores.monitor] for member in self.well]
        print(
            f"{self.label}  epoch {done}/{planned}  {scores.selection_metric} {min(values):.3f} to {max(values):.3f}  "
            f"{seconds:.0f} s, {seconds / done * (planned - done):.0f} s left",
            flush=True,
        )

    def on_fit_end(self, trainer: Trainer, stack: Any) -> None:
        for member in self.well:
            member.last = stack.own_state(member.number)

    def on_test_start(self, trainer: Trainer, stack: Any) -> None:
        for member in self.members:
            member.scores.on_test_start(trainer, member)

    def on_test_batch_end(
        self, trainer: Trainer, stack: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        seed, loader = divmod(dataloader_idx, 2)  # of the source and of the target
        for member in self._well_of(seed):
            part = member.part_of(outputs)
            member.scores.on_test_batch_end(trainer, member, part, batch, batch_idx, loader)

    def on_test_epoch_end(self, trainer: Trainer, stack: Any) -> None:
        for member in self.well:
            member.scores.on_test_epoch_end(trainer, member)

    def name_weights(self, weights: Weights) -> None:
        """Say which weights the next test scores."""
        for member in self.members:
            member.scores.weights = weights


def _tensors(state: Mapping[str, Any]) -> list[str]:
    return [name for name, value in state.items() if isinstance(value, Tensor)]
