"""Data of a domain-adaptation task: named training streams, and source and target rows to score."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader

from da.data.loader import DrawLoader
from da.data.rows import Hidden, Rows, Subset, Twin
from da.data.samplers import EvalSampler, StreamSampler
from da.data.streams import (
    LABEL_STREAMS,
    SAME_ROWS,
    Balance,
    Pairing,
    Split,
    balanced_groups,
    batches_per_epoch,
    check_labels,
    few_rows,
    labelled_rows,
    some_rows,
)
from da.data.strong import StrongView
from da.distributed import rank, world_size
from da.types import ROLE_OF_STREAM, Role, Samples


class Domain(NamedTuple):
    """The rows of one domain, with labels."""

    name: str
    train: Rows
    val: Rows
    test: Rows


class DomainData(LightningDataModule, ABC):
    """Streams of training batches and sets to evaluate; a subclass only says what a domain is.

    Nothing is opened that is not asked for: `load` gets the streams the method trains on, and a
    source-free method leaves the source files closed.

    Args:
        num_classes: number of classes; None where the data themselves say it (`facts`).
        batch_size: rows a batch for every stream, summed over all processes.
        steps_per_epoch: batches in an epoch: a number, or those that it takes to pass the rows of the stream that is
            "source" or "target", or that takes the most ("max") or the fewest ("min") of them. Shorter streams
            start again. None is "max".
        labels_per_class: labelled target rows a class in the `labeled` stream.
        val_rows: at most so many rows of a domain are scored at each validation.
        num_workers: processes that load batches beside the training process.
        seed: of the order of the batches, of the augmentation and of the labelled target rows.
        balance: by stream, what every batch holds equally many rows of: "domain", "class" or "none". By default the
            domains of a stream that has several.
    """

    available = frozenset(ROLE_OF_STREAM)
    own_classes = False
    """Whether each domain has classes of its own, and the network so a head for each."""

    def __init__(
        self,
        num_classes: int | None,
        batch_size: Mapping[str, int],
        steps_per_epoch: int | Pairing | None = None,
        labels_per_class: int = 5,
        val_rows: int = 2000,
        eval_batch_size: int = 500,
        num_workers: int = 0,
        seed: int = 0,
        balance: Mapping[str, Balance] | None = None,
    ) -> None:
        super().__init__()
        self._num_classes = num_classes
        self.batch_size = dict(batch_size)
        self.steps_per_epoch = steps_per_epoch
        self.labels_per_class = labels_per_class
        self.val_rows = val_rows
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.balance: dict[str, Balance] = dict(balance or {})
        self.notices: list[str] = []
        """What a user should know of the data that were opened: classes, rows left out, leaks."""
        self.told = 0  # how many of them were printed
        self.streams: frozenset[str] = frozenset()
        self.evaluated: tuple[Role, ...] = ("source", "target")
        self._domains: dict[Role, Domain] = {}

    @abstractmethod
    def read(self, role: Role) -> Domain:
        """Open the domain that plays `role`."""

    @abstractmethod
    def names(self) -> dict[Role, str]:
        """Return the names of the two domains, without opening them."""

    @abstractmethod
    def hashes(self) -> dict[str, str]:
        """Return the sha256 of everything that was opened, by name."""

    @property
    def num_classes(self) -> int:
        """How many classes the network tells apart."""
        if self._num_classes is None:
            raise ValueError(f"data.num_classes is null, and {type(self).__name__} can't tell it: set it")
        return self._num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return tuple(map(str, range(self.num_classes)))

    def classes_of(self, role: Role) -> tuple[str, ...]:
        """Names of the classes of a domain, in the order of its logits."""
        return self.class_names

    def num_classes_of(self, role: Role) -> int:
        """How many classes the network tells apart in a domain."""
        return self.num_classes

    def facts(self) -> dict[str, Any]:
        """Return what the rest of the config may ask of the data and only the data know, by option: num_classes, ..."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what was learnt from the data and is needed to read new rows, in json's types."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the `state` of the data that a network was trained on, without opening them."""

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        """Read new, unlabelled rows from `where`, as the target's are read to be scored; and the name of each row.

        Raises ValueError for data that are not read from files.
        """
        raise ValueError(f"{type(self).__name__} reads no files")

    def domain(self, role: Role) -> Domain:
        """Return the domain that plays `role`, opened at the first call."""
        if role not in self._domains:
            domain = self.read(role)
            if not len(domain.train):
                raise ValueError(f"the {role} domain {domain.name!r} has no training rows")
            check_labels(role, domain.name, {"train": domain.train, "test": domain.test}, self.num_classes_of(role))
            self._domains[role] = domain
        return self._domains[role]

    def load(self, streams: frozenset[str], evaluated: tuple[Role, ...] = ("source", "target")) -> None:
        """Open what the method's `streams` need and no more; `evaluated` domains are scored at validation.

        Raises ValueError for a stream that this data set lacks, or whose domain is smaller than a batch.
        """
        if missing := streams - self.available:
            raise ValueError(
                f"{type(self).__name__} has streams {sorted(self.available)}, the method needs {sorted(missing)} too"
            )
        self.streams, self.evaluated = streams, evaluated
        for stream in sorted(streams):
            size, rows = self._batch_size(stream), len(self.train_set(stream))
            if size > rows:
                name = self.domain(ROLE_OF_STREAM[stream]).name
                raise ValueError(
                    f"data.batch_size.{stream}={size} is larger than the {rows} rows of stream {stream!r} ({name}); "
                    f"at most {rows} will do"
                )

    def train_set(self, stream: str) -> Rows:
        """Rows of a training stream: target labels are hidden here, before anything else sees them."""
        rows = self.domain(ROLE_OF_STREAM[stream]).train
        if stream == "target":
            return Hidden(rows)
        if stream == "target_strong":
            return StrongView(Hidden(rows))
        if stream in LABEL_STREAMS:
            rows = labelled_rows(rows)
        if stream in ("labeled", "labeled_twin"):
            rows = Subset(rows, few_rows(rows.y, self.labels_per_class, self.num_classes_of("target"), self.seed))
        return Twin(rows) if stream == "labeled_twin" else rows

    def eval_set(self, role: Role, split: Split) -> Rows:
        """Rows to score, with labels; who may look at the target's is decided in `da.callbacks.selection`."""
        rows = self.domain(role).test if split == "test" else self.domain(role).val
        if split == "val" and len(rows) > self.val_rows:
            rows = Subset(rows, some_rows(len(rows), self.val_rows, "val", role))
        return rows

    def train_dataloader(self) -> CombinedLoader:
        """One batch of every stream a step."""
        sets = {stream: self.train_set(stream) for stream in sorted(self.streams)}
        done = self._progress()
        passes = {name: len(rows) // self._batch_size(name) for name, rows in sets.items()}
        steps = batches_per_epoch(self.steps_per_epoch, passes)
        loaders = {}
        for name, rows in sets.items():
            groups, stream = balanced_groups(rows, name, self.balance), SAME_ROWS.get(name, name)
            size = self._batch_size(name)
            sampler = StreamSampler(len(rows), size, steps, self.seed, stream, rank(), world_size(), groups)
            sampler.go_on(*done)
            loaders[name] = self._loader(rows, sampler)
        return CombinedLoader(loaders, mode="min_size")

    def _progress(self) -> tuple[int, int]:
        """Epochs done, and batches done of the next: not 0 for a run that goes on from a checkpoint."""
        trainer = self.trainer
        if trainer is None:
            return 0, 0
        epochs: Any = trainer.fit_loop.epoch_progress.current
        batches = trainer.fit_loop.epoch_loop.batch_progress.current
        return epochs.processed, batches.ready if epochs.ready > epochs.processed else 0

    def val_dataloader(self) -> list[DataLoader[Samples]]:
        return [self.eval_loader(self.eval_set(role, "val")) for role in self.evaluated]

    def test_dataloader(self) -> list[DataLoader[Samples]]:
        return [self.eval_loader(self.eval_set(role, "test")) for role in ("source", "target")]

    def eval_loader(self, rows: Rows, shared: bool = True) -> DataLoader[Samples]:
        """Every row once, in order; dealt over the processes if `shared`, else all of them to each."""
        deal = (rank(), world_size()) if shared else (0, 1)
        return self._loader(rows, EvalSampler(len(rows), self.eval_batch_size, *deal))

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Leave on the CPU what is there: Lightning would go through all of the batch, in a tenth of a short step."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _loader(self, rows: Rows, sampler: StreamSampler | EvalSampler) -> DataLoader[Samples]:
        return DrawLoader(
            rows,
            sampler=sampler,  # a sampler of whole draws, hence no batching by the loader
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            persistent_workers=False,
        )

    def _batch_size(self, stream: str) -> int:
        if (stream := SAME_ROWS.get(stream, stream)) not in self.batch_size:
            raise ValueError(f"data.batch_size has {sorted(self.batch_size)}, the method needs {stream!r} too")
        return self.batch_size[stream]
