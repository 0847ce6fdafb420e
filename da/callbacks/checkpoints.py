"""The checkpoints of a run: last.ckpt, from which it goes on when interrupted, and selected.ckpt; when, and how."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from da.callbacks.averaging import Averaging
from da.callbacks.metrics_file import MetricsFile
from da.cost import Meter
from da.distributed import max_over_ranks
from da.models.state import load_checkpoint
from da.record import whole_file

LAST, PREVIOUS, SELECTED = "last.ckpt", "previous.ckpt", "selected.ckpt"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What clusters announce the end of a job with: it is saved, and goes on where it is started again."""


class LastCheckpoint(Checkpoint):
    """Writes last.ckpt after each epoch, every `minutes` in between, and when one of `SIGNALS` announces the end.

    Everything that a run draws is a function of the seed and the number of the batch, so this is all it takes to go on
    in the middle of an epoch. After a signal the first process ends with status 128 + its number; what handled USR1 or
    USR2 before, such as submitit, which puts the job into the queue again, is called first.

    Args:
        folder: of the checkpoints.
        minutes: between two checkpoints within an epoch.
        metrics: the file whose rows so far belong to the checkpoint.
        meter: what the run has cost so far is kept, too.
        max_minutes: of this process, after which the run is saved and ended by a TimeoutError; None for no end.
    """

    def __init__(
        self, folder: Path, minutes: float, metrics: MetricsFile, meter: Meter, max_minutes: float | None = None
    ) -> None:
        self.path, self.seconds, self.max_minutes = folder / LAST, 60 * minutes, max_minutes
        self.metrics, self.meter = metrics, meter
        self.started_at = time.monotonic()
        self.saved_at = 0.0
        self.asked = 0  # number of the signal that came
        self.handlers: dict[int, Any] = {}  # those that were there before

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.metrics.rows, "cost": self.meter.times()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.meter.add(state_dict["cost"])

    def on_train_start(self, trainer: Trainer, method: Any) -> None:
        # Not at on_fit_start: Lightning notes after that which handlers it is to put back at the end.
        self.saved_at = time.monotonic()
        if threading.current_thread() is threading.main_thread():  # no other one may
            self.handlers = {number: signal.signal(number, self._ask) for number in SIGNALS}

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = number

    def on_train_batch_end(self, trainer: Trainer, method: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.monotonic()
        ended = self.max_minutes is not None and now - self.started_at >= 60 * self.max_minutes
        late = now - self.saved_at >= self.seconds
        asked, over, due = max_over_ranks(self.asked, int(ended), int(late))  # all processes save, or none
        loop = trainer.fit_loop
        # Gradients that are still to be added to are in no checkpoint; after the last batch the epoch's own follows.
        if not (asked or over or due) or loop._should_accumulate() or batch_idx + 1 == trainer.num_training_batches:
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Averaging):
                callback.show(method.net)
        self._save(trainer)
        if over and not asked:
            raise TimeoutError(
                f"max_minutes={self.max_minutes} are over after batch {method.batches_seen}, which is saved: the same "
                "command goes on from there"
            )
        self._leave(asked, method)

    def on_train_epoch_end(self, trainer: Trainer, method: Any) -> None:
        self._save(trainer)
        self._leave(max_over_ranks(self.asked)[0], method)

    def on_train_end(self, trainer: Trainer, method: Any) -> None:
        self._restore_handlers()
        if trainer.is_global_zero:
            self.path.with_name(PREVIOUS).unlink(missing_ok=True)

    def on_exception(self, trainer: Trainer, method: Any, exception: BaseException) -> None:
        self._restore_handlers()

    def _save(self, trainer: Trainer) -> None:
        self.metrics.save()  # its rows are on disk before a checkpoint counts on them
        trainer.save_checkpoint(self.path)
        self.saved_at = time.monotonic()

    def _leave(self, number: int, method: Any) -> None:
        if not number:
            return
        earlier = self.handlers.get(number)
        self._restore_handlers()
        name = signal.Signals(number).name
        print(
            f"{name}: saved {self.path} after batch {method.batches_seen}; the same command goes on from there",
            file=sys.stderr,
            flush=True,
        )
        if callable(earlier) and number != signal.SIGTERM:
            # A cluster stops the job while it queues it again, and Lightning would tell processes that are gone.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            earlier(number, None)
        # Of several processes the first one has more to do, and would be killed if another one were to fail.
        raise SystemExit(128 + number if method.trainer.is_global_zero else 0)

    def _restore_handlers(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}


class SelectedCheckpoint(ModelCheckpoint):
    """Writes selected.ckpt where the metric `monitor` is at its highest so far, wherever the run's folder was before.

    Lightning's own forgets the best score when the folder was moved, and would take the next epoch whatever its score.

    Args:
        folder: of the checkpoints.
        monitor: name of the metric.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            folder,
            filename=Path(SELECTED).stem,
            monitor=monitor,
            mode="max",
            save_weights_only=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {key: here(state_dict[key]) for key in state_dict if key.endswith("_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})


def knows_best(checkpoint: Mapping[str, Any]) -> bool:
    """Whether epochs were scored before this checkpoint, the best of which is kept in selected.ckpt."""
    return bool(checkpoint.get("callbacks", {}).get("Scores", {}).get("history"))


def check_same_selection(checkpoint: Mapping[str, Any], monitor: str, where: str) -> None:
    """Raise ValueError if the run of this checkpoint kept the best of its epochs by another metric than `monitor`."""
    states = checkpoint.get("callbacks", {}).items()
    kept = {state["monitor"] for key, state in states if key.startswith(SelectedCheckpoint.__qualname__)}
    if knows_best(checkpoint) and monitor not in kept:
        was = ", ".join(kept) or "another version"
        raise ValueError(
            f"{where} is of a run that kept its best epoch by {was}, not by {monitor}: "
            f"set selection_metric as it was, or init_from={where}, which takes the weights alone"
        )


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, onto the disk, and moves it there: a file of its name is a whole one.

    The last.ckpt from before stays as previous.ckpt. OSError if it can't be written; the earlier ones are left.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as draft:
            try:
                with draft.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
            except (OSError, RuntimeError) as error:  # of PyTorch's writer, whose cause is what the system said
                why = error if isinstance(error, OSError) else error.__context__ or error
                kept = f"; {path.name} from before is whole" if path.exists() else ""
                raise OSError(f"can't write {path}: {why}{kept}. The same command goes on once it can") from error
            if path.name == LAST and path.exists():
                _keep(path, path.with_name(PREVIOUS))


def _keep(path: Path, name: Path) -> None:
    """Let `name` be the file at `path`, too, without a moment in which `path` is not there, where links are known."""
    draft = name.with_name(f"{name.name}.part")
    draft.unlink(missing_ok=True)
    try:
        os.link(path, draft)
    except OSError:
        path.replace(name)
    else:
        draft.replace(name)


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return path and content of last.ckpt in the folder, or of previous.ckpt if that is damaged; None for neither."""
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            return path, load_checkpoint(path)
        except ValueError as error:
            print(f"{error}; looking for an earlier one", file=sys.stderr, flush=True)
    return None
