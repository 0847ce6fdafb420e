"""A stack from configs to run folders: what `da.run` does, for runs that differ in weights lambda and seeds only."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from da.assemble import one_row, write_data_file
from da.build import build
from da.callbacks.checkpoints import LAST, SELECTED, WholeFiles
from da.callbacks.selection import Scores
from da.callbacks.throughput import Throughput
from da.cost import Meter, network_cost, peak_memory_mib
from da.environment import write_environment
from da.record import RunRecord
from da.resume import CHECKPOINTS
from da.run import describe, log_test, target_labels
from da.stacked.jobs import title
from da.stacked.member import Member
from da.stacked.members import AllFailedError, Members
from da.stacked.seeds import DataOfSeeds, SeedBatchesOfSeeds, Start, starts_of
from da.stacked.stack import Stack
from da.stacked.trial import Trial
from da.stage import build_trainer, interruptible, quiet
from da.terms.base import Weight, complete_weights
from da.types import Role

Outcome = dict[str, Any] | Exception
"""What results.json says of a run that is complete, or why it failed."""


def run_stack(cfgs: Sequence[DictConfig]) -> list[Outcome]:
    """Train and test the runs of these configs at once, each into its `run_dir`; return what came of each.

    The configs are equal but for the weights of the terms, the seed and the folder, and come in the order of the seeds.

    Raises NotStackableError, before any folder is touched, where the runs can't be stacked; and what stops all of them.
    """
    quiet()
    records = [RunRecord(cfg) for cfg in cfgs]
    meter = Meter()
    cfg = cfgs[0]
    starts = starts_of(cfgs)
    methods, seeds = [start.method for start in starts], [start.cfg.seed for start in starts]
    data = DataOfSeeds([start.data for start in starts])
    cost_of_net = network_cost(methods[0].net, one_row(starts[0].data))
    trial = Trial(methods)
    weights = [_weights(each, methods[0].objective.named_terms()) for each in cfgs]
    stack = Stack(methods, [seeds.index(each.seed) for each in cfgs], weights)
    members = [_member(each, stack, number, starts) for number, each in enumerate(cfgs)]
    label = f"{title(cfgs)}, {len(cfgs)} runs at once"
    callback = Members(members, label, lambda: _take_possession(members, records, starts))
    throughput = Throughput()
    trainer = build_trainer(
        cfg,
        Path(cfg.run_dir),
        callbacks=[trial, callback, throughput, SeedBatchesOfSeeds(seeds)],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    try:
        with interruptible():
            trainer.fit(stack, datamodule=data)
            _test(trainer, stack, callback, data)
    except AllFailedError:
        pass
    except KeyboardInterrupt as error:
        for member, record in zip(members, records, strict=True):
            if member.started:
                record.fail(error)
        raise
    times = {name: None if value is None else value / len(cfgs) for name, value in meter.times().items()}
    rate = throughput.samples_per_second
    cost = {
        **times,
        "samples_per_second": rate and rate * len(cfgs) / len(seeds),
        "peak_memory_mib": peak_memory_mib(),
        **cost_of_net,
    }
    return [_finish(member, record, cost) for member, record in zip(members, records, strict=True)]


def _weights(cfg: DictConfig, terms: Mapping[str, object]) -> dict[str, Weight]:
    """Build the weights of the terms of one run."""
    given = cfg.method.get("weights") or {}
    return complete_weights({name: build(given[name], f"method.weights.{name}") for name in given}, terms)


def _member(cfg: DictConfig, stack: Stack, number: int, starts: Sequence[Start]) -> Member:
    data = starts[stack.seed_of[number]].data
    validators = {name: build(node, f"validators.{name}") for name, node in cfg.validators.items()}
    classes: dict[Role, int] = {role: data.num_classes_of(role) for role in ("source", "target")}
    scores = Scores(classes, validators, cfg.selection_metric)
    return Member(cfg, stack, number, scores, data)


def _take_possession(members: Sequence[Member], records: Sequence[RunRecord], starts: Sequence[Start]) -> None:
    """Begin all folders."""
    for member, record in zip(members, records, strict=True):
        record.start()
        write_environment(record.folder, dirty=bool(record.known["git_dirty"]))
        first = starts[member.seed].cfg
        member.cfg.data, member.cfg.net = first.data, first.net  # with what the data said where they were asked
        record.write_config(member.cfg)
        write_data_file(member.data, record.folder)
        member.start()


def _test(trainer: pl.Trainer, stack: Stack, members: Members, data: DataOfSeeds) -> None:
    """Score the last weights of each run, then the selected ones."""
    members.name_weights("last")
    trainer.test(stack, data.test_dataloader(), verbose=False)
    for member in members.well:
        member.scores.test["selected"] = member.scores.test["last"]
        member.scores.calibrated["selected"] = member.scores.calibrated["last"]
    if any(not _equal(member.selected, member.last) for member in members.well):
        for member in members.well:
            stack.load(member.number, member.selected)
        members.name_weights("selected")
        trainer.test(stack, data.test_dataloader(), verbose=False)


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def _finish(member: Member, record: RunRecord, cost: dict[str, Any]) -> Outcome:
    """Write what a run leaves, and say what came of it."""
    if member.error is not None:
        record.fail(member.error)
        return member.error
    trainer = member.trainer
    _save(member, member.selected, int(member.scores.summary()["selected"]["epoch"]), SELECTED)
    _save(member, member.last, trainer.current_epoch - 1, LAST)
    labels = target_labels(member.cfg, member.streams, member.scores)
    measured = describe(member.data, member.scores, trainer, labels, cost)
    log_test([member.logger], measured)
    return record.finish(measured | {"stacked": member.stack.size})


def _save(member: Member, own: Mapping[str, Tensor], epoch: int, name: str) -> None:
    """Write a checkpoint of weights alone, in the way of Lightning's."""
    trainer = member.trainer
    checkpoint = {
        "epoch": epoch,
        "global_step": trainer.global_step // trainer.max_epochs * (epoch + 1),
        "pytorch-lightning_version": version("pytorch-lightning"),
        "state_dict": member.stack.method.state_dict() | dict(own),
    }
    WholeFiles().save_checkpoint(checkpoint, member.folder / CHECKPOINTS / name)
