"""Weights & Biases, offline unless asked otherwise."""

from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import WandbLogger


def make_wandb_logger(
    folder: Path,
    config: dict[str, Any],
    project: str = "lambda-da",
    mode: Literal["offline", "online"] = "offline",
    group: str | None = None,
    name: str | None = None,
) -> WandbLogger:
    """Return a logger that writes below `folder`; `offline` needs no account and no network.

    The metric keys are those of metrics.csv, drawn over `step`, the batches seen.
    """
    logger = WandbLogger(
        project=project, save_dir=folder, offline=mode == "offline", group=group, name=name or folder.name, reinit=True
    )
    logger.log_hyperparams(config)
    return logger
