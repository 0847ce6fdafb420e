"""TensorBoard."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import TensorBoardLogger


def make_tensorboard_logger(folder: Path, config: dict[str, Any]) -> TensorBoardLogger:
    """Return a logger that writes below `folder`/tensorboard; the metric keys are those of metrics.csv.

    Raises ImportError, naming the extra, where the package is not there.
    """
    if find_spec("tensorboard") is None:
        raise ImportError("logger=tensorboard needs tensorboard: pip install 'lambda-da[tensorboard]'")
    logger = TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)
    logger.log_hyperparams(config)
    return logger
