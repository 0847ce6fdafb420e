"""What a person looks at after a run: features before and after, classes, curves, confusions."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor

from da.callbacks.selection import Scores
from da.data.base import DomainData
from da.data.rows import Draw, stable_seed
from da.models.network import Network
from da.report import figures as drawn
from da.report.curves import curves_figure
from da.types import Role


class Figures(Callback):
    """Encodes the same test rows before and after training, and draws into `folder`/figures.

    The rows are test rows, and their labels colour the points for people to look at: nothing is learned from them.

    Args:
        data: whose rows.
        folder: of the run.
        projection: "tsne" or "pca".
        every: epochs after which the features are drawn, too, into `folder`/figures/epochs; None for never.
    """

    def __init__(self, data: DomainData, folder: Path, projection: drawn.Projection, every: int | None = None) -> None:
        self.data, self.folder, self.projection, self.every = data, folder, projection, every
        self.positions: drawn.Floats | None = None  # of the rows in the last figure of an epoch

    def before(self, net: Network) -> None:
        """Encode with the network as it is before adaptation."""
        self.features_before = self._encode(net)

    def after(self, net: Network) -> None:
        """Encode with the last weights."""
        self.features_after = self._encode(net)

    def on_train_epoch_end(self, trainer: Trainer, method: Any) -> None:
        epoch = trainer.current_epoch + 1
        if self.every is None or epoch % self.every or not trainer.is_global_zero:
            return
        folder = self.folder / "figures/epochs"
        folder.mkdir(parents=True, exist_ok=True)
        path, stage = folder / f"{epoch:04d}.png", f"after epoch {epoch}"
        self.positions = drawn.epoch_figure(
            self._encode(method.net), stage, path, self.projection, self._domains(), self.positions
        )
        _log("figures/epochs", path, trainer.loggers, stage)

    def draw(self, scores: Scores, loggers: Iterable[Logger]) -> None:
        """Write the figures, and log them to W&B if it is there."""
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        loggers = list(loggers)
        summary, matrices = scores.summary(), scores.test
        drawn.features_figure(
            self.features_before,
            self.features_after,
            folder / "features.png",
            self.projection,
            self._domains(),
        )
        classes = [str(c) for c in range(self.data.num_classes_of("target"))]
        drawn.per_class_figure(classes, summary["test"]["target_class_acc"], folder / "per_class.png")
        drawn.confusion_figure(matrices["last"]["target"].numpy(), folder / "confusion.png")
        curves_figure(self.folder / "metrics.csv", folder / "curves.png")
        for path in sorted(folder.glob("*.png")):
            _log(f"figures/{path.stem}", path, loggers)

    def _domains(self) -> tuple[str, str]:
        names = self.data.names()
        return names["source"], names["target"]

    @torch.no_grad()
    def _encode(self, net: Network) -> drawn.Features:
        modes, device = [(module, module.training) for module in net.modules()], next(net.parameters()).device
        net.eval()
        columns: dict[str, np.ndarray] = {}
        roles: tuple[Role, Role] = ("source", "target")
        for role in roles:
            rows = self.data.eval_set(role, "test")
            generator = torch.Generator().manual_seed(stable_seed("figure", role))
            chosen = torch.randperm(len(rows), generator=generator)[: drawn.ROWS].sort().values
            samples = rows[Draw(chosen, 0)]
            x = samples.x.to(device) if isinstance(samples.x, Tensor) else samples.x
            columns[f"z_{role}"] = net(x)[0].float().cpu().numpy()
            columns[f"y_{role}"] = samples.y.numpy()
        for module, training in modes:  # one that is frozen may be in another mode than the net
            module.training = training
        return drawn.Features(**columns)


def _log(name: str, path: Path, loggers: Iterable[Logger], caption: str = "") -> None:
    """Show the picture in W&B, if it is there."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [str(path)], caption=[caption])
