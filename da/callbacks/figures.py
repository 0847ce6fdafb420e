"""What a person looks at after a run: features before and after, classes, curves, confusions."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor

from da.callbacks.selection import Scores
from da.data.base import DomainData
from da.data.rows import Draw, stable_seed
from da.models.network import Network
from da.report import figures as drawn
from da.report.curves import curves_figure
from da.types import Role

ROWS = 500  # test rows of each domain in the feature plot


class Figures:
    """Encodes the same test rows before and after training, and draws into `folder`/figures.

    The rows are test rows and their labels colour them after training is over: nothing is learned
    from them.
    """

    def __init__(self, data: DomainData, folder: Path, projection: Literal["tsne", "pca"]) -> None:
        self.data, self.folder, self.projection = data, folder, projection

    def before(self, net: Network) -> None:
        """Encode with the network as it is before adaptation."""
        self.features_before = self._encode(net)

    def after(self, net: Network) -> None:
        """Encode with the last weights."""
        self.features_after = self._encode(net)

    def draw(self, scores: Scores, loggers: Iterable[Logger], names: dict[Role, str]) -> None:
        """Write the figures, and log them to W&B if it is there."""
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        summary, matrices = scores.summary(), scores.test
        drawn.features_figure(
            self.features_before,
            self.features_after,
            folder / "features.png",
            self.projection,
            domains=(names["source"], names["target"]),
        )
        classes = [str(c) for c in range(self.data.num_classes_of("target"))]
        drawn.per_class_figure(classes, summary["test"]["target_class_acc"], folder / "per_class.png")
        drawn.confusion_figure(matrices["last"]["target"].numpy(), folder / "confusion.png")
        curves_figure(self.folder / "metrics.csv", folder / "curves.png")
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                for path in sorted(folder.glob("*.png")):
                    logger.log_image(f"figures/{path.stem}", [str(path)])

    @torch.no_grad()
    def _encode(self, net: Network) -> "drawn.Features":
        training, device = net.training, next(net.parameters()).device
        net.eval()
        columns: dict[str, np.ndarray] = {}
        roles: tuple[Role, Role] = ("source", "target")
        for role in roles:
            rows = self.data.eval_set(role, "test")
            generator = torch.Generator().manual_seed(stable_seed("figure", role))
            chosen = torch.randperm(len(rows), generator=generator)[:ROWS].sort().values
            samples = rows[Draw(chosen, 0)]
            x = samples.x.to(device) if isinstance(samples.x, Tensor) else samples.x
            columns[f"z_{role}"] = net(x)[0].float().cpu().numpy()
            columns[f"y_{role}"] = samples.y.numpy()
        net.train(training)
        return drawn.Features(**columns)
