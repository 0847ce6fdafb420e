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

    The metric keys are those of metrics.csv, drawn over `step`, the batches seen. A run that goes on after an
    interruption keeps its id.
    """
    # Folders are named [offline-]run-DATE_TIME-ID; a run that starts anew has removed them.
    parts = sorted((folder / "wandb").glob("*run-*-*"))
    logger = WandbLogger(
        project=project,
        save_dir=folder,
        offline=mode == "offline",
        group=group,
        name=name or folder.name,
        id=parts[-1].name.rpartition("-")[2] if parts else None,
        resume="allow",
        reinit=True,
    )
    logger.log_hyperparams(config)
    return logger
