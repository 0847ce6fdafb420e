"""One stage of training: a method, its trainer, and the checkpoints that it leaves."""

import logging
import os
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import (  # type: ignore[attr-defined]  # exported without saying so
    LightningEnvironment,
    SLURMEnvironment,
)
from pytorch_lightning.utilities import rank_zero_only

from da.assemble import write_data_file
from da.build import build
from da.callbacks.averaging import Averaging, check_same_averaging
from da.callbacks.checkpoints import (
    LAST,
    SELECTED,
    LastCheckpoint,
    SelectedCheckpoint,
    WholeFiles,
    check_same_selection,
)
from da.callbacks.metrics_file import MetricsFile
from da.callbacks.progress import make_progress, on_terminal
from da.callbacks.pruning import pruning
from da.callbacks.seeding import SeedEachBatch
from da.callbacks.selection import Scores
from da.callbacks.throughput import Throughput
from da.cost import Meter
from da.data.base import DomainData
from da.distributed import check_port
from da.introduce import introduce
from da.methods.base import Method
from da.models.network import Network
from da.models.state import check_fits
from da.overhead import Untimed, leave_out_unused_hooks
from da.resume import CHECKPOINTS, Saved, Stage
from da.settings import FIRST_VALIDATORS
from da.sharding import sharded
from da.types import Role


class Fitted(NamedTuple):
    """A finished training stage."""

    method: Method
    trainer: pl.Trainer
    scores: Scores
    throughput: Throughput
    last: Path
    selected: Path


def fit(
    cfg: DictConfig,
    stage: Stage,
    net: Network,
    data: DomainData,
    folder: Path,
    selection_metric: str,
    meter: Meter,
    loggers: Sequence[Logger] = (),
    saved: Saved | None = None,
    further: Sequence[pl.Callback] = (),
) -> Fitted:
    """Train the method that the config holds under `stage`, from its beginning or from where it was `saved`."""
    method = build_method(cfg, stage, net)
    data.load(method.streams, method.evaluated)
    introduce(method, data)
    if leads():
        write_data_file(data, Path(cfg.run_dir))
    validators = {name: build(node, f"validators.{name}") for name, node in cfg.validators.items()}
    classes: dict[Role, int] = {role: data.num_classes_of(role) for role in ("source", "target")}
    scores = Scores(classes, validators, selection_metric)
    checkpoints = folder / CHECKPOINTS
    metrics = MetricsFile(folder, saved.rows(folder) if saved else 0)
    last = LastCheckpoint(checkpoints, cfg.checkpoint_minutes, metrics, meter, cfg.max_minutes)
    monitors = [build(cfg.monitor, "monitor")] if cfg.get("monitor") else []
    averaging = build_averaging(cfg)
    label = f"{cfg.names.method} seed {cfg.seed}" + (" (source stage)" if stage == "pretrain" else "")
    throughput, progress = Throughput(), make_progress(label, FIRST_VALIDATORS | {selection_metric})
    trainer = build_trainer(
        cfg,
        folder,
        callbacks=[
            *(*averaging, scores, throughput, SeedEachBatch(cfg.seed), *monitors, *further),
            *(*(pruning(scores) if stage == "method" else []), progress),
            *(SelectedCheckpoint(checkpoints, scores.monitor), last),  # in this order: last.ckpt knows the other
        ],
        logger=[metrics, *loggers],
        enable_progress_bar=on_terminal(),
    )
    if saved is not None:
        _check_goes_on(saved, method, cfg.names.method, averaging, scores)
    if leads():
        _announce(label, trainer, net, saved)
    try:
        with sharded(trainer.strategy, cfg, method):
            trainer.fit(method, datamodule=data, ckpt_path=saved.path if saved else None, weights_only=True)
    except FloatingPointError as error:
        kept = f"; the last good checkpoint is {checkpoints / LAST}" if trainer.current_epoch else ""
        raise FloatingPointError(f"{error} at batch {method.batches_seen}{kept}") from error
    return Fitted(method, trainer, scores, throughput, checkpoints / LAST, checkpoints / SELECTED)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C in a trainer be the KeyboardInterrupt that it is: Lightning ends the program in its place."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, handler)  # which Lightning ignores from there on
        raise KeyboardInterrupt("stopped by Ctrl-C") from None


def build_method(cfg: DictConfig, stage: str, net: Network) -> Method:
    """Build the method that the config holds under `stage`, to train `net`; a source stage trains all of it."""
    tuning = build(cfg.tuning, "tuning") if stage == "method" and cfg.get("tuning") else None
    if tuning is not None:
        tuning.prepare(net)
    optimizer, lr_schedule = build(cfg.optimizer, "optimizer"), build(cfg.lr_schedule, "lr_schedule")
    method: Method = build(cfg[stage], stage, net=net, optimizer=optimizer, lr_schedule=lr_schedule)
    method.tuning = tuning
    return method


def build_averaging(cfg: DictConfig) -> list[Averaging]:
    """Build what averages the network over its training, if the config asks for it."""
    return [build(cfg.averaging, "averaging")] if cfg.get("averaging") else []


def build_trainer(cfg: DictConfig, folder: Path, **options: Any) -> pl.Trainer:
    """Build the trainer of the config, with what no run lets Lightning decide."""
    # Deterministic algorithms would fill all memory with NaN first, lest anybody read what is not set. Nobody does.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if not cfg.trainer.get("profiler"):
        options["profiler"] = Untimed()
    trainer: pl.Trainer = build(
        cfg.trainer,
        "trainer",
        default_root_dir=folder,
        use_distributed_sampler=False,  # the samplers deal the rows over the processes themselves
        num_sanity_val_steps=0,
        enable_model_summary=False,
        plugins=[WholeFiles(), *_starts_processes()],
        **options,
    )
    leave_out_unused_hooks(trainer.callbacks)  # type: ignore[attr-defined]
    return trainer


def _starts_processes() -> list[LightningEnvironment]:
    """What makes the trainer start a process a device in a job of Slurm that has one task; several tasks are those."""
    in_slurm = SLURMEnvironment.detect()
    return [LightningEnvironment()] if in_slurm and os.environ.get("SLURM_NTASKS") == "1" else []


def _check_goes_on(saved: Saved, method: Method, name: str, averaging: Sequence[Averaging], scores: Scores) -> None:
    """Raise ValueError if the checkpoint is of a run that this one can't go on with."""
    where = str(saved.path)
    check_fits(saved.content["state_dict"], method.state_dict(), where, f"method {name}")
    check_same_averaging(saved.content, averaging, where)
    check_same_selection(saved.content, scores.monitor, where)


def _announce(label: str, trainer: pl.Trainer, net: Network, saved: Saved | None) -> None:
    """Say what is trained how, also what was chosen by itself; OSError if the processes can't meet."""
    if saved is not None:
        print(f"{label}: goes on after batch {saved.steps}, from {saved.path}", flush=True)
    trained = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    processes = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
    layout = ", channels_last" if net.channels_last else ""
    where = f"{trainer.strategy.root_device.type}{processes}"
    print(f"{label}: {trained:,} parameters on {where}, precision {trainer.precision}{layout}", flush=True)
    if trainer.world_size > 1:
        check_port()


def leads() -> bool:
    """Whether this is the first of the processes that train together; known before they meet."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def quiet() -> None:
    """Silence what Lightning says about things that are so on purpose."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        ".*treespec, LeafSpec.* is deprecated.*",
        ".*does not have many workers.*",
        ".*module\\(s\\) in eval mode at the start of training.*",  # a frozen copy of the network
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*`srun` command is available.*",  # Slurm is here, but this is no job of it
        ".*your dataloader is not resumable.*",  # its samplers are
        ".*find_unused_parameters=True was specified.*",
        ".*It is recommended to use `self.log\\(.*sync_dist=True.*",  # metrics are those of all processes already
        ".*The `srun` command is available on your system but is not used.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message)
