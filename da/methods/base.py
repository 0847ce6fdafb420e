"""The two kinds of method. A concrete method is a final leaf of one of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, cast, final

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from da.data.base import DomainData
from da.data.streams import Role
from da.distributed import mean_over_ranks
from da.models.network import Network
from da.schedules import Constant, Schedule
from da.terms.base import Losses, full_precision
from da.types import Batch, Encoded, Samples, Step, join_rows

OptimizerFactory = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]


class Method(LightningModule, ABC):
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

    def __init__(self, net: Network, optimizer: OptimizerFactory, lr_schedule: Schedule | None = None) -> None:
        super().__init__()
        self.net, self.make_optimizer = net, optimizer
        self.lr_schedule = lr_schedule if lr_schedule is not None else Constant(1.0)
        self.observers: list[Callable[[Step, Losses], None]] = []
        """Called with every loss before its backward pass."""

    @property
    def batches_seen(self) -> int:
        """Batches trained on so far: the x-axis of every curve. Lightning's global_step counts optimizer steps."""
        return self.trainer.fit_loop.total_batch_idx + 1

    @property
    def progress(self) -> float:
        """Fraction of the planned batches done: 0 at the first, 1 at the last."""
        planned = int(self.trainer.num_training_batches) * max(self.trainer.max_epochs or 1, 1)
        return min((self.batches_seen - 1) / max(planned - 1, 1), 1.0)

    def validation_step(  # type: ignore[override]  # a NamedTuple of tensors is what callbacks are given
        self, rows: Samples, batch_idx: int, dataloader_idx: int = 0
    ) -> Encoded:
        """Encode a batch; what is measured on it is a callback's business."""
        return self.encode_stream(rows)

    test_step = validation_step  # type: ignore[assignment]

    def encode(self, batch: Batch, streams: Iterable[str] | None = None) -> Step:
        """Run the network over the named streams (all of them by default), by `net.batch_norm`'s policy."""
        rows = {name: batch[name] for name in (batch if streams is None else streams)}
        if self.net.batch_norm == "joint" and len(rows) > 1:
            whole = self._forward(join_rows([samples.x for samples in rows.values()]))
            sizes = [len(samples.y) for samples in rows.values()]
            columns = {name: column.split(sizes) for name, column in whole.items()}
            parts = [{name: column[i] for name, column in columns.items()} for i in range(len(rows))]
            outputs = [whole]
        else:
            parts = outputs = [self._forward(samples.x) for samples in rows.values()]
        encoded = {name: _encoded(part, rows[name]) for name, part in zip(rows, parts, strict=True)}
        shared = {name: tuple(output[name] for output in outputs) for name in outputs[0]}
        return Step(encoded, self.progress, rows, self.net, shared)

    def encode_stream(self, rows: Samples) -> Encoded:
        """Run the network over one stream."""
        return _encoded(self._forward(rows.x), rows)

    def _forward(self, x: Any) -> dict[str, Tensor]:
        """Run the network; what it gives in half precision under autocast comes back in full."""
        z, logits = self.net(x)
        outputs = {"z": z, "logits": logits, **self.net.watched}
        return {name: y.float() if y.dtype in (torch.bfloat16, torch.float16) else y for name, y in outputs.items()}

    @torch.no_grad()
    def encode_all(self, stream: str) -> Encoded:
        """Encode all rows of a training stream in row order, in evaluation mode; every process does all of them."""
        data = cast(DomainData, self.trainer.datamodule)  # type: ignore[attr-defined]
        training = self.net.training
        self.net.eval()
        batches = [
            self.encode_stream(self.transfer_batch_to_device(rows, self.device, 0))[:5]
            for rows in data.eval_loader(data.train_set(stream), shared=False)
        ]
        self.net.train(training)
        z, logits, y, domain, index = (torch.cat(column) for column in zip(*batches, strict=True))
        return Encoded(z, logits, y, domain, index)

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
        """Set the learning rates: functions of progress, so there is no scheduler to save."""
        scale = self.lr_schedule(self.progress)
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * scale

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = self.optimizers(use_pl_optimizer=False)
        return cast(list[torch.optim.Optimizer], optimizers if isinstance(optimizers, list) else [optimizers])

    def _new_optimizer(self, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
        """Make an optimizer of these modules' trainable parameters, each at its share of the learning rate."""
        wanted = {p: 1.0 for module in modules for p in module.parameters() if p.requires_grad}
        for group in self.net.parameter_groups():
            wanted |= {p: group.lr_scale for p in group.parameters if p in wanted}
        if not wanted:
            raise ValueError(f"{type(self).__name__} has nothing to train: all of its parameters are frozen")
        scales = sorted(set(wanted.values()))
        optimizer = self.make_optimizer([{"params": [p for p in wanted if wanted[p] == s]} for s in scales])
        for settings, scale in zip(optimizer.param_groups, scales, strict=True):
            settings["base_lr"] = settings["lr"] * scale
        return optimizer


def _encoded(outputs: dict[str, Tensor], rows: Samples) -> Encoded:
    layers = {name: y for name, y in outputs.items() if name not in ("z", "logits")}
    return Encoded(outputs["z"], outputs["logits"], rows.y, rows.domain, rows.index, layers)


class JointMethod(Method, ABC):
    """One loss, one optimizer: Lightning's automatic optimization."""

    @abstractmethod
    def loss(self, step: Step) -> Losses: ...

    @final
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._new_optimizer([self])

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
        return [self._new_optimizer(modules) for modules in self.groups().values()]

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
