"""One run: build, optional source stage, adaptation, test, results."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor

from da.assemble import assemble, one_row
from da.build import build
from da.callbacks.checkpoints import SELECTED
from da.callbacks.selection import ORACLE, Scores, Weights
from da.cost import Meter, network_cost, peak_memory_mib
from da.data.base import DomainData
from da.data.streams import LABEL_STREAMS
from da.environment import write_environment
from da.models.state import load_checkpoint, load_network
from da.record import RunRecord
from da.resume import CHECKPOINTS, PRETRAIN, Saved, saved_state, take_along
from da.settings import check_settings
from da.sharding import load_whole_state, whole_state
from da.stage import Fitted, fit, interruptible, leads, quiet

if TYPE_CHECKING:
    from da.callbacks.figures import Figures


def run(cfg: DictConfig) -> dict[str, Any]:
    """Train and test one configuration in `cfg.run_dir`; return what results.json says.

    Whatever goes wrong is raised, after results.json says `failed`.
    """
    check_settings(cfg)
    quiet()
    record = RunRecord(cfg)
    saved = saved_state(cfg, record.folder)
    if leads():
        if saved is not None and saved.lies_in(record.folder):
            record.go_on(saved.steps)
        else:
            record.start()
        write_environment(record.folder, dirty=bool(record.known["git_dirty"]))
    try:
        with interruptible():
            measured = _train_and_test(cfg, record, saved)
    except BaseException as error:
        if leads():
            record.fail(error)
        raise
    return record.finish(measured) if leads() else measured


def _train_and_test(cfg: DictConfig, record: RunRecord, saved: Saved | None) -> dict[str, Any]:
    folder = record.folder
    if saved is not None:
        take_along(saved, folder)
    meter = Meter()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data, net = assemble(cfg)
    if leads():
        record.write_config(cfg)
    start = Path(cfg.init_from) if cfg.init_from is not None and cfg.init_parts is None else None
    if cfg.pretrain is not None and cfg.init_from is None:
        start = folder / PRETRAIN / CHECKPOINTS / SELECTED
        if saved is None or saved.stage == "pretrain":
            fit(cfg, "pretrain", net, data, folder / PRETRAIN, "source_acc", meter, saved=saved)
            saved = None
        load_network(net, start)
        pl.seed_everything(cfg.seed, workers=True, verbose=False)  # also where the source stage was trained before
    pretrained_streams = data.streams
    figures = _figures(cfg, data)
    if figures:
        figures.before(net)
    further = [figures] if figures else []
    with _extra_loggers(cfg, folder) as loggers:
        fitted = fit(cfg, "method", net, data, folder, cfg.selection_metric, meter, loggers, saved, further)
        times = meter.times()
        if figures:
            figures.after(fitted.method.net)
        _test(fitted, data, start)
        labels = target_labels(cfg, fitted.method.streams | pretrained_streams, fitted.scores)
        cost = {
            **times,
            "samples_per_second": fitted.throughput.samples_per_second,
            "peak_memory_mib": peak_memory_mib(),
            **network_cost(net, one_row(data)),
        }
        measured = describe(data, fitted.scores, fitted.trainer, labels, cost)
        log_test(fitted.trainer.loggers, measured)
        if figures:
            figures.draw(fitted.scores, fitted.trainer.loggers)
    return measured


def _test(fitted: Fitted, data: DomainData, start: Path | None) -> None:
    """Score the last weights, then the selected ones, then those of the start, to see what was forgotten since."""
    scores, method = fitted.scores, fitted.method

    def test(weights: Weights, loaders: list[Any]) -> None:
        scores.weights = weights
        fitted.trainer.test(method, loaders, verbose=False)

    test("last", data.test_dataloader())
    last, selected = whole_state(method), load_checkpoint(fitted.selected)["state_dict"]
    if all(torch.equal(value, last[key].cpu()) for key, value in selected.items() if isinstance(value, Tensor)):
        scores.test["selected"] = scores.test["last"]  # the last epoch was selected
        scores.calibrated["selected"] = scores.calibrated["last"]
    else:
        load_whole_state(method, selected)
        test("selected", data.test_dataloader())
    if start is not None:
        load_network(method.net, start)
        test("start", data.test_dataloader()[:1])


def target_labels(cfg: DictConfig, streams: frozenset[str], scores: Scores) -> list[str]:
    """Return what the run read target labels for: streams that were trained on, selection, validators."""
    return (
        sorted(LABEL_STREAMS & streams)
        + ["selection"] * (cfg.selection_metric == ORACLE)
        + ["validation"] * bool(scores.validation.labels_seen)
    )


def describe(
    data: DomainData, scores: Scores, trainer: pl.Trainer, labels: list[str], cost: dict[str, Any]
) -> dict[str, Any]:
    """Return what results.json says of a run that was trained and tested."""
    return {
        "source": data.names()["source"],
        "target": data.names()["target"],
        "data_hashes": data.hashes(),
        "target_labels": labels,
        "steps": int(trainer.fit_loop.total_batch_idx) + 1,
        "world_size": trainer.world_size,
        **scores.summary(),
        "cost": cost,
    }


def log_test(loggers: Sequence[Logger], measured: dict[str, Any]) -> None:
    """Write accuracies and costs of a run into its loggers."""
    accuracies = {
        f"test/{role}_acc/{weights}": value
        for role in ("source", "target")
        for weights, value in measured["test"][f"{role}_acc"].items()
        if value is not None
    }
    costs = {f"cost/{name}": measured["cost"][name] for name in ("seconds", "peak_memory_mib")}
    for logger in loggers:
        logger.log_metrics(accuracies | costs, step=measured["steps"])
        logger.save()


@contextmanager
def _extra_loggers(cfg: DictConfig, folder: Path) -> Iterator[list[Logger]]:
    """The loggers beside metrics.csv. A run of W&B ends with this one: the next of a sweep is another."""
    loggers: list[Logger] = []
    if cfg.logger:
        config = OmegaConf.to_container(cfg, resolve=True)
        loggers = [build(cfg.logger, "logger", folder=folder, config=config)]
    status = 1
    try:
        yield loggers
        status = 0
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish(exit_code=status)


def _figures(cfg: DictConfig, data: DomainData) -> "Figures | None":
    if cfg.figures == "none" or not leads():
        return None
    # Imported here: matplotlib and scikit-learn take a second that a run without figures saves.
    from da.callbacks.figures import Figures

    return Figures(data, Path(cfg.run_dir), cfg.figures, cfg.figures_every)
