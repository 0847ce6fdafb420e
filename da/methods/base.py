"""The two kinds of method. A concrete method is a final leaf of one of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor, nn

from da.data.base import DomainData
from da.distributed import mean_over_ranks
from da.models.network import Network
from da.models.optimizer import OptimizerFactory, new_optimizer
from da.models.tuning import Tuning
from da.overhead import LeanModule
from da.schedules import Constant, Schedule
from da.sharding import shard
from da.terms.base import Losses, full_precision
from da.types import ROLE_OF_STREAM, UNENCODED, Batch, Encoded, Role, Samples, Step, join_rows


class Method(LeanModule, ABC):
    """A network, the training streams it needs, and how it is evaluated.

    Args:
        net: the network to train, in place.
        optimizer: makes an optimizer from parameter groups.
        lr_schedule: learning rate relative to the optimizer's own, by training progress.
    """

    streams: frozenset[str] = frozenset({"source", "target"})
    """Training streams the data must provide; nothing else is opened."""
    evaluated: tuple[Role, ...] = ("source", "target")
    """Domains scored during training; a source-free method leaves the source out."""
    same_classes: bool = False
    """Whether it takes class k of the source for class k of the target, as no method can where each has its own."""

    def __init__(self, net: Network, optimizer: OptimizerFactory, lr_schedule: Schedule | None = None) -> None:
        super().__init__()
        if self.same_classes and net.own_classes:
            raise ValueError(
                f"{type(self).__name__} needs the same classes in both domains: not for separate label sets"
            )
        self.net, self.make_optimizer = net, optimizer
        self.lr_schedule = lr_schedule if lr_schedule is not None else Constant(1.0)
        self.tuning: Tuning | None = None
        self.observers: list[Callable[[Step, Losses], None]] = []
        """Called with every loss before its backward pass."""

    def configure_model(self) -> None:
        """Deal the parameters over the processes, with trainer=fsdp."""
        shard(self, self.net.backbone)

    @property
    def batches_seen(self) -> int:
        """Batches trained on so far: the x-axis of every curve. Lightning's global_step counts optimizer steps."""
        return self.trainer.fit_loop.total_batch_idx + 1

    @property
    def data(self) -> DomainData:
        """The data that it is trained on."""
        return cast(DomainData, self.trainer.datamodule)  # type: ignore[attr-defined]

    @property
    def progress(self) -> float:
        """Fraction of the planned batches done: 0 at the first, 1 at the last."""
        planned = int(self.trainer.num_training_batches) * max(self.trainer.max_epochs or 1, 1)
        return min((self.batches_seen - 1) / max(planned - 1, 1), 1.0)

    def validation_step(  # type: ignore[override]  # a NamedTuple of tensors is what callbacks are given
        self, rows: Samples, batch_idx: int, dataloader_idx: int = 0
    ) -> Encoded:
        """Encode a batch; what is measured on it is a callback's business."""
        return self.encode_stream(rows, self.evaluated[dataloader_idx])

    def test_step(self, rows: Samples, batch_idx: int, dataloader_idx: int = 0) -> Encoded:  # type: ignore[override]
        """Encode a batch of the source or, from the second loader, of the target."""
        return self.encode_stream(rows, ("source", "target")[dataloader_idx])

    def encode(self, batch: Batch, streams: Iterable[str] | None = None) -> Step:
        """Run the network over the named streams (all of them by default), by `net.batch_norm`'s policy."""
        rows = {name: batch[name] for name in (batch if streams is None else streams) if name not in UNENCODED}
        if self.net.batch_norm == "joint" and len(rows) > 1:
            whole = self._forward(join_rows([samples.x for samples in rows.values()]))
            sizes = [len(samples.y) for samples in rows.values()]
            columns = {name: column.split(sizes) for name, column in whole.items()}
            parts = [{name: column[i] for name, column in columns.items()} for i in range(len(rows))]
            outputs = [whole]
        else:
            parts = outputs = [self._forward(samples.x) for samples in rows.values()]
        encoded = {name: self._encoded(part, rows[name], name) for name, part in zip(rows, parts, strict=True)}
        shared = {name: tuple(output[name] for output in outputs) for name in outputs[0]}
        return Step(encoded, self.progress, batch, self.net, shared)

    def encode_stream(self, rows: Samples, stream: str) -> Encoded:
        """Run the network over one stream."""
        return self._encoded(self._forward(rows.x), rows, stream)

    def _encoded(self, outputs: dict[str, Tensor], rows: Samples, stream: str) -> Encoded:
        logits = outputs["logits"]
        if self.net.own_classes:
            logits = self.net.classify(ROLE_OF_STREAM[stream], outputs["z"]).float()
        layers = {name: y for name, y in outputs.items() if name not in ("z", "logits")}
        return Encoded(outputs["z"], logits, rows.y, rows.domain, rows.index, layers)

    def _forward(self, x: Any) -> dict[str, Tensor]:
        """Run the network; what it gives in half precision under autocast comes back in full."""
        z, logits = self.net(x)
        outputs = {"z": z, "logits": logits, **self.net.watched}
        return {name: y.float() if y.dtype in (torch.bfloat16, torch.float16) else y for name, y in outputs.items()}

    @torch.no_grad()
    def encode_all(self, stream: str, layers: Sequence[str] = ()) -> Encoded:
        """Encode all rows of a training stream in row order, in evaluation mode; every process does all of them.

        Of the layers that the network keeps only those that are named are there.
        """
        batches = []
        for rows in self.all_rows(stream):
            part = self.encode_stream(rows, stream)
            batches.append((*part[:5], *(part.layers[name] for name in layers)))
        z, logits, y, domain, index, *kept = (torch.cat(column) for column in zip(*batches, strict=True))
        return Encoded(z, logits, y, domain, index, dict(zip(layers, kept, strict=True)))

    def all_rows(self, stream: str) -> Iterator[Samples]:
        """Yield all rows of a training stream in row order to every process, the network in evaluation mode."""
        training = self.net.training
        self.net.eval()
        try:
            for rows in self.data.eval_loader(self.data.train_set(stream), shared=False):
                yield self.prepared(rows)
        finally:
            self.net.train(training)

    def prepared(self, rows: Samples) -> Samples:
        """Return the rows as a step is given them: in the precision of the trainer, on its device."""
        rows = self.trainer.precision_plugin.convert_input(rows)
        return cast(Samples, self.transfer_batch_to_device(rows, self.device, 0))

    def log_losses(self, losses: Losses, update: str = "") -> None:
        """Write the losses every `log_every_n_steps` batches.

        Written to the loggers directly: `self.log` costs up to 0.25 ms a value and counts optimizer steps.
        Values are means over the processes.
        """
        if self.batches_seen % self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        values = {f"train/loss{'/' * bool(update)}{update}": losses.total}
        values |= {f"train/{name}": value for name, value in {**losses.parts, **losses.measures}.items()}
        means = mean_over_ranks(torch.stack([value.detach() for value in values.values()])).tolist()
        record = dict(zip(values, means, strict=True))
        record |= {f"train/weight/{name}": float(weight) for name, weight in losses.weights.items()}
        record |= {f"train/reversal/{name}": strength for name, strength in losses.reversals.items()}
        record["train/lr"] = self._optimizers()[0].param_groups[-1]["lr"]
        for logger in self.loggers:
            logger.log_metrics(record, step=self.batches_seen)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set what is trained, and the learning rates: functions of progress, so there is nothing to save."""
        if self.tuning is not None:
            self.tuning.apply(self.net, self.progress)
        scale = self.lr_schedule(self.progress)
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * scale

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = self.optimizers(use_pl_optimizer=False)
        return cast(list[torch.optim.Optimizer], optimizers if isinstance(optimizers, list) else [optimizers])


class JointMethod(Method, ABC):
    """One loss, one optimizer: Lightning's automatic optimization."""

    @abstractmethod
    def loss(self, step: Step) -> Losses: ...

    @final
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return new_optimizer(self.make_optimizer, self.net, [self])

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        step = self.encode(batch)
        losses = self.loss(step)
        losses.check_finite()
        self.log_losses(losses)
        for observe in self.observers:
            observe(step, losses)
        return losses.total


class Update(NamedTuple):
    """Minimise `loss` over the named parameter groups, `repeat` times, encoding only the `streams` it reads."""

    name: str
    loss: Callable[[Step], Losses]
    groups: tuple[str, ...]
    streams: tuple[str, ...]
    repeat: int = 1


class AlternatingMethod(Method, ABC):
    """Several updates per batch. The only manual-optimization code in the project."""

    def __init__(self, net: Network, optimizer: OptimizerFactory, lr_schedule: Schedule | None = None) -> None:
        super().__init__(net, optimizer, lr_schedule)
        self.automatic_optimization = False

    @abstractmethod
    def groups(self) -> Mapping[str, list[nn.Module]]:
        """Disjoint parameter groups; each gets its own optimizer, so its own momentum."""

    @abstractmethod
    def updates(self) -> list[Update]: ...

    @final
    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [new_optimizer(self.make_optimizer, self.net, modules) for modules in self.groups().values()]

    @final
    def training_step(self, batch: Batch, batch_idx: int) -> None:
        optimizers = dict(zip(self.groups(), cast(list[Any], self.optimizers()), strict=True))
        for update in self.updates():
            stepped = [optimizers[name] for name in update.groups]
            with self._frozen_except(update.groups):
                for _ in range(update.repeat):
                    step = self.encode(batch, update.streams)
                    with full_precision(step):
                        losses = update.loss(step)
                    for optimizer in stepped:
                        optimizer.zero_grad()
                    losses.check_finite()
                    for observe in self.observers:
                        observe(step, losses)
                    self.manual_backward(losses.total)
                    for optimizer in stepped:
                        optimizer.step()
            self.log_losses(losses, update.name)

    @contextmanager
    def _frozen_except(self, groups: tuple[str, ...]) -> Iterator[None]:
        rest = [p for name, ms in self.groups().items() if name not in groups for m in ms for p in m.parameters()]
        frozen = [p.requires_grad_(False) for p in rest if p.requires_grad]
        try:
            yield
        finally:
            for p in frozen:
                p.requires_grad_(True)
