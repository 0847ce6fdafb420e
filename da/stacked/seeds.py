"""What the runs of each seed in a stack begin with: their data, and their network before the first step."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader

from da.assemble import assemble
from da.data.base import DomainData
from da.data.rows import stable_seed
from da.introduce import introduce
from da.methods.weighted_sum import WeightedSum
from da.stacked.reasons import SeedsDifferError, check_size, check_stackable
from da.stage import build_method
from da.types import Batch, Samples


class Start(NamedTuple):
    """The config of one run of a seed, and what a run of that seed by itself begins with."""

    cfg: DictConfig
    data: DomainData
    method: WeightedSum


def starts_of(cfgs: Sequence[DictConfig]) -> list[Start]:
    """Return what each seed of these configs begins with; they come in the order of the seeds.

    Raises NotStackableError if no stack can train the method, or not so many runs of several seeds.
    """
    first = _start(cfgs[0])
    if cfgs[0].seed != cfgs[-1].seed:
        check_size(first.method, len(cfgs))
    others = [next(own) for _, own in groupby(cfgs, key=lambda cfg: cfg.seed)][1:]
    return [first, *map(_start, others)]


def _start(cfg: DictConfig) -> Start:
    """Build data and method as `da.run` does."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data, net = assemble(cfg)
    method = check_stackable(build_method(cfg, "method", net))
    data.load(method.streams, method.evaluated)
    introduce(method, data)
    return Start(cfg, data, method)


class DataOfSeeds(LightningDataModule):
    """The data of every seed, next to each other: a step has a batch of each, evaluation one seed after the other."""

    def __init__(self, parts: Sequence[DomainData]) -> None:
        super().__init__()
        self.parts = parts

    def train_dataloader(self) -> CombinedLoader:
        """Batches are lists of what the data of each seed give."""
        loaders = [data.train_dataloader() for data in self.parts]
        if len({min(map(len, loader.flattened)) for loader in loaders}) > 1:
            raise SeedsDifferError("its seeds have other numbers of steps")
        return CombinedLoader([loader.iterables for loader in loaders], mode="min_size")

    def val_dataloader(self) -> list[DataLoader[Samples]]:
        return [loader for data in self.parts for loader in data.val_dataloader()]

    def test_dataloader(self) -> list[DataLoader[Samples]]:
        return [loader for data in self.parts for loader in data.test_dataloader()]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return self.parts[0].transfer_batch_to_device(batch, device, dataloader_idx)


class SeedBatchesOfSeeds(Callback):
    """`da.callbacks.seeding.SeedEachBatch` for a stack."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = seeds

    def on_train_batch_start(self, trainer: Trainer, stack: Any, batch: Sequence[Batch], batch_idx: int) -> None:
        stack.seed([stable_seed(seed, "batch", stack.batches_seen, trainer.global_rank) for seed in self.seeds])
