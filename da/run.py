"""One run: build, optional source stage, adaptation, test, results."""

import logging
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from da.assemble import assemble, write_data_file
from da.build import build
from da.callbacks.averaging import Averaging, check_same_averaging
from da.callbacks.progress import make_progress, on_terminal
from da.callbacks.seeding import SeedEachBatch
from da.callbacks.selection import ORACLE, Scores, Weights
from da.cost import network_cost, peak_memory_mib, reset_peak_memory
from da.data.base import DomainData
from da.data.rows import Draw
from da.data.streams import LABEL_STREAMS
from da.methods.base import Method
from da.models.network import Network
from da.models.state import check_fits, load_checkpoint, load_network
from da.record import RunRecord
from da.settings import check_settings
from da.types import Role

if TYPE_CHECKING:
    from da.callbacks.figures import Figures


CHECKPOINTS, SELECTED = "checkpoints", "selected.ckpt"


class Fitted(NamedTuple):
    """A finished training stage."""

    method: Method
    trainer: pl.Trainer
    scores: Scores
    last: Path
    selected: Path


def run(cfg: DictConfig) -> dict[str, Any]:
    """Train and test one configuration in `cfg.run_dir`; return what results.json says.

    Whatever goes wrong is raised, after results.json says `failed`.
    """
    check_settings(cfg)
    quiet()
    record = RunRecord(cfg)
    if _leads():
        record.start(keep=cfg.resume is not None)
    try:
        measured = _train_and_test(cfg, record)
    except BaseException as error:
        if _leads():
            record.fail(error)
        raise
    return record.finish(measured) if _leads() else measured


def _train_and_test(cfg: DictConfig, record: RunRecord) -> dict[str, Any]:
    folder = record.folder
    reset_peak_memory()
    started = time.monotonic()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data, net = assemble(cfg)
    if _leads():
        record.write_config(cfg)
    start = Path(cfg.init_from) if cfg.init_from is not None and cfg.init_parts is None else None
    if cfg.pretrain is not None and cfg.init_from is None:
        start = folder / "pretrain" / CHECKPOINTS / SELECTED
        if cfg.resume is None:
            fit(cfg, "pretrain", net, data, folder / "pretrain", "source_acc")
        load_network(net, start)
    pretrained_streams = data.streams
    figures = _figures(cfg, data)
    if figures:
        figures.before(net)
    fitted = fit(cfg, "method", net, data, folder, cfg.selection_metric, _extra_loggers(cfg, folder), cfg.resume)
    seconds = time.monotonic() - started
    if figures:
        figures.after(fitted.method.net)
    _test(fitted, data, start)
    row = data.eval_set("target", "test")[Draw(torch.arange(1), 0)].x
    measured = {
        "source": data.names()["source"],
        "target": data.names()["target"],
        "data_hashes": data.hashes(),
        "target_labels": sorted(LABEL_STREAMS & (fitted.method.streams | pretrained_streams))
        + ["selection"] * (cfg.selection_metric == ORACLE),
        "steps": int(fitted.trainer.fit_loop.total_batch_idx) + 1,
        "world_size": fitted.trainer.world_size,
        **fitted.scores.summary(),
        "cost": {"seconds": seconds, "peak_memory_mib": peak_memory_mib(), **network_cost(fitted.method.net, row)},
    }
    _log_test(fitted, measured)
    if figures:
        figures.draw(fitted.scores, fitted.trainer.loggers, data.names())
    for logger in fitted.trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()  # the next run of a sweep is another one
    return measured


def fit(
    cfg: DictConfig,
    stage: str,
    net: Network,
    data: DomainData,
    folder: Path,
    selection_metric: str,
    loggers: Sequence[Logger] = (),
    resume: str | None = None,
) -> Fitted:
    """Train the method that the config holds under `stage` ("method" or "pretrain")."""
    method = build_method(cfg, stage, net)
    data.load(method.streams, method.evaluated)
    if _leads():
        write_data_file(data, Path(cfg.run_dir))
    validators = {name: build(node, f"validators.{name}") for name, node in cfg.validators.items()}
    classes: dict[Role, int] = {role: data.num_classes_of(role) for role in ("source", "target")}
    scores = Scores(classes, validators, selection_metric)
    checkpoints = folder / CHECKPOINTS
    monitors = [build(cfg.monitor, "monitor")] if cfg.get("monitor") else []
    averaging = build_averaging(cfg)
    label = f"{cfg.names.method} seed {cfg.seed}" + (" (source stage)" if stage == "pretrain" else "")
    trainer = build_trainer(
        cfg,
        folder,
        callbacks=[
            *(*averaging, scores, SeedEachBatch(cfg.seed), *monitors),
            *(make_progress(label), *_savers(checkpoints, scores)),
        ],
        logger=[CSVLogger(folder, name="", version=""), *loggers],
        enable_progress_bar=on_terminal(),
    )
    if resume is not None:
        checkpoint = load_checkpoint(resume)
        check_fits(checkpoint["state_dict"], method.state_dict(), resume, f"method {cfg.names.method}")
        check_same_averaging(checkpoint, averaging, resume)
    try:
        trainer.fit(method, datamodule=data, ckpt_path=resume, weights_only=True)
    except FloatingPointError as error:
        kept = f"; the last good checkpoint is {checkpoints / 'last.ckpt'}" if trainer.current_epoch else ""
        raise FloatingPointError(f"{error} at batch {method.batches_seen}{kept}") from error
    return Fitted(method, trainer, scores, checkpoints / "last.ckpt", checkpoints / SELECTED)


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
    trainer: pl.Trainer = build(
        cfg.trainer,
        "trainer",
        default_root_dir=folder,
        use_distributed_sampler=False,  # the samplers deal the rows over the processes themselves
        num_sanity_val_steps=0,
        enable_model_summary=False,
        **options,
    )
    return trainer


def _savers(folder: Path, scores: Scores) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """What writes selected.ckpt and last.ckpt; the second one last, so that it knows of the first."""
    selected = ModelCheckpoint(
        folder,
        filename="selected",
        monitor=scores.monitor,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
    )
    last = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    return selected, last


def _test(fitted: Fitted, data: DomainData, start: Path | None) -> None:
    """Score the last weights, then the selected ones, then those of the start, to see what was forgotten since."""
    stages: tuple[Weights, ...] = ("last", "selected", "start") if start is not None else ("last", "selected")
    for weights in stages:
        if weights == "selected":
            fitted.method.load_state_dict(load_checkpoint(fitted.selected)["state_dict"])
        elif weights == "start":
            assert start is not None
            load_network(fitted.method.net, start)
        fitted.scores.weights = weights
        fitted.trainer.test(fitted.method, datamodule=data, verbose=False)


def _log_test(fitted: Fitted, measured: dict[str, Any]) -> None:
    accuracies = {
        f"test/{role}_acc/{weights}": value
        for role in ("source", "target")
        for weights, value in measured["test"][f"{role}_acc"].items()
        if value is not None
    }
    for logger in fitted.trainer.loggers:
        logger.log_metrics(accuracies, step=measured["steps"])
        logger.save()


def _extra_loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    if not cfg.logger:
        return []
    config = OmegaConf.to_container(cfg, resolve=True)
    return [build(cfg.logger, "logger", folder=folder, config=config)]


def _figures(cfg: DictConfig, data: DomainData) -> "Figures | None":
    if cfg.figures == "none" or not _leads():
        return None
    # Imported here: matplotlib and scikit-learn take a second that a run without figures saves.
    from da.callbacks.figures import Figures

    return Figures(data, Path(cfg.run_dir), cfg.figures)


def _leads() -> bool:
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
        ".*Experiment logs directory .* exists and is not empty.*",
        ".*find_unused_parameters=True was specified.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
    ):
        warnings.filterwarnings("ignore", message)
