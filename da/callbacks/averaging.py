"""An average of the network over its training, which is what is validated, tested and saved."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn

PREFIX = "averaging."


class Averaging(Callback, ABC):
    """Averages the weights of `method.net` after each batch, and puts the average in their place between batches.

    While a batch is trained on, the network has the weights that the optimizer moves. From a validation (or the end of
    an epoch) to the next batch, and after training, it has the average: so the average is what is validated, written
    into checkpoints and tested. `last.ckpt` holds the other weights too; a run resumed from it goes on exactly.

    Running statistics of batch norm are averaged as parameters are, not estimated anew: the average is needed at each
    validation, and so it takes no further pass over the data, and is the same on several processes and after a
    resume. Integers, such as counters, are the latest. What belongs to terms or to the method, such as a second head,
    is not averaged.
    """

    def __init__(self) -> None:
        self.count = 0  # batches averaged so far
        self.average: dict[str, Tensor] = {}
        self.trained: dict[str, Tensor] | None = None  # the weights themselves, while the network has the average

    @abstractmethod
    def next_share(self, progress: float) -> float:
        """Count a batch; return the share in [0, 1] that the weights after it have in the new average."""

    @property
    def state_key(self) -> str:
        """Name of the state in a checkpoint."""
        return f"{PREFIX}{type(self).__name__.lower()}"

    def state_dict(self) -> dict[str, Any]:
        assert self.trained is not None, "a checkpoint was written while the network did not have the average"
        return {"count": self.count, "trained": self.trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count, self.trained = state_dict["count"], state_dict["trained"]

    def on_fit_start(self, trainer: Trainer, method: Any) -> None:
        self.average = _copy(method.net)  # a resumed network comes with the average, from the checkpoint
        self._hide(method.net)

    def on_train_epoch_start(self, trainer: Trainer, method: Any) -> None:
        self._hide(method.net)

    def on_train_batch_start(self, trainer: Trainer, method: Any, batch: Any, batch_idx: int) -> None:
        self._hide(method.net)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, method: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        share = self.next_share(method.progress)
        for key, value in method.net.state_dict().items():
            self.average[key].lerp_(value, share) if value.is_floating_point() else self.average[key].copy_(value)

    def on_validation_start(self, trainer: Trainer, method: Any) -> None:
        self.show(method.net)

    def on_train_epoch_end(self, trainer: Trainer, method: Any) -> None:
        self.show(method.net)

    def on_fit_end(self, trainer: Trainer, method: Any) -> None:
        self.show(method.net)

    def show(self, net: nn.Module) -> None:
        """Give the network the average; the next batch finds its own weights again."""
        if self.trained is None:
            self.trained = _copy(net)
            _write(net, self.average)

    def _hide(self, net: nn.Module) -> None:
        if self.trained is not None:
            _write(net, self.trained)
            self.trained = None


class Ema(Averaging):
    """Exponential moving average: theta_avg <- d theta_avg + (1 - d) theta, from the network as it starts.

    d = min(decay, (1 + t) / (warmup + t)) in batch t = 0, 1, ..., as in TensorFlow's ExponentialMovingAverage, where
    warmup is 10: early averages forget the start. With warmup 1, d is `decay` from the first batch on.
    """

    def __init__(self, decay: float = 0.999, warmup: float = 10) -> None:
        super().__init__()
        if not 0 <= decay < 1 or not warmup >= 1:
            raise ValueError(
                f"averaging.decay={decay} must lie in [0, 1), and averaging.warmup={warmup} be at least 1 (no warm-up)"
            )
        self.decay, self.warmup = decay, warmup

    def next_share(self, progress: float) -> float:
        decay = min(self.decay, (1 + self.count) / (self.warmup + self.count))
        self.count += 1
        return 1 - decay


class Swa(Averaging):
    """Mean of the weights after each batch from progress `start` on; before it, the network as it is.

    Stochastic weight averaging (Izmailov et al., UAI 2018), but after each batch instead of each epoch, with the
    run's own learning rates, and with the mean of the batch norm statistics.
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__()
        if not 0 <= start <= 1:
            raise ValueError(f"averaging.start={start} must lie in [0, 1]")
        self.start = start

    def next_share(self, progress: float) -> float:
        if progress < self.start:
            return 1.0
        self.count += 1
        return 1 / self.count


def check_same_averaging(checkpoint: Mapping[str, Any], averaging: Sequence[Averaging], where: str) -> None:
    """Raise ValueError if the run of this checkpoint averaged in another way than the one that resumes it."""
    had = [key.removeprefix(PREFIX) for key in checkpoint.get("callbacks", {}) if key.startswith(PREFIX)]
    has = [callback.state_key.removeprefix(PREFIX) for callback in averaging]
    if had != has:
        was, now = (", ".join(names) or "none" for names in (had, has))
        raise ValueError(f"{where} is of a run with averaging={was}, but here averaging={now}: set them equal")


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in net.state_dict().items()}


@torch.no_grad()
def _write(net: nn.Module, state: Mapping[str, Tensor]) -> None:
    for key, value in net.state_dict().items():
        value.copy_(state[key])
