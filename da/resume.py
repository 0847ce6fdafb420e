"""Where a run that was interrupted goes on."""

import os
import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

from omegaconf import DictConfig

from da.callbacks.checkpoints import SELECTED, knows_best, newest_checkpoint
from da.models.state import load_checkpoint
from da.record import recorded, whole_file
from da.settings import config_hash

CHECKPOINTS, PRETRAIN = "checkpoints", "pretrain"
Stage = Literal["pretrain", "method"]


class Saved(NamedTuple):
    """A checkpoint that a stage of training goes on from."""

    stage: Stage
    path: Path
    content: dict[str, Any]

    @property
    def steps(self) -> int:
        """Batches of the stage that were trained on."""
        loops = self.content.get("loops", {}).get("fit_loop", {})
        return int(loops.get("epoch_loop.batch_progress", {}).get("total", {}).get("ready", 0))

    def lies_in(self, folder: Path) -> bool:
        """Whether it is of the run of this folder, not of another one."""
        return self.path.resolve().is_relative_to(folder.resolve())

    def rows(self, folder: Path) -> int:
        """Rows that metrics.csv in the stage's folder had at the checkpoint; 0 if that lies in another folder."""
        if self.path.resolve().parent != (folder / CHECKPOINTS).resolve():
            return 0
        return int(self.content.get("callbacks", {}).get("LastCheckpoint", {}).get("rows", 0))


def saved_state(cfg: DictConfig, folder: Path) -> Saved | None:
    """Return what the run goes on from, by `ckpt_path`; None for a run from the beginning.

    "auto" is the newest whole checkpoint of the same configuration in the run's own folder, if there is one, and
    "last" the same, but FileNotFoundError if there is none; a path is that of the checkpoint of any run whose weights
    fit.
    """
    if cfg.ckpt_path is None:
        return None
    if cfg.ckpt_path not in ("auto", "last"):
        path = Path(cfg.ckpt_path)
        return Saved("method", path, load_checkpoint(path))
    places: dict[Stage, Path] = {"method": folder / CHECKPOINTS, "pretrain": folder / PRETRAIN / CHECKPOINTS}
    if recorded(folder, config_hash(cfg)) and not cfg.force:
        for stage, place in places.items():
            if found := newest_checkpoint(place):
                return Saved(stage, *found)
    if cfg.ckpt_path == "last":
        raise FileNotFoundError(f"ckpt_path=last: no run of this configuration was interrupted in {folder}")
    return None


def take_along(saved: Saved, folder: Path) -> None:
    """Copy into the run's folder what a checkpoint of another run's folder counts on: the best weights before it.

    FileNotFoundError if they are not beside it.
    """
    if saved.lies_in(folder):
        return
    theirs = saved.path.with_name(SELECTED)
    if knows_best(saved.content):
        if not theirs.is_file():
            raise FileNotFoundError(
                f"{saved.path} goes on with epochs of which the best is kept in {theirs}, which is not there; "
                f"init_from={saved.path} takes the weights alone"
            )
        _copy(theirs, folder / CHECKPOINTS / SELECTED)
    source_stage = Path(PRETRAIN, CHECKPOINTS, SELECTED)
    if (theirs.parents[1] / source_stage).is_file():
        _copy(theirs.parents[1] / source_stage, folder / source_stage)


def _copy(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(place, writer=f".{os.getpid()}") as draft:  # every process of the run copies
        shutil.copyfile(file, draft)
