"""One configuration trained on rows in memory, without a run folder and without a trace in the process."""

import copy
import logging
import os
import random
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from da.assemble import assemble
from da.callbacks.seeding import SeedEachBatch
from da.compose import config_dir
from da.introduce import introduce
from da.models.network import Network
from da.settings import check_settings, register_resolvers
from da.stage import build_averaging, build_method, build_trainer, interruptible, quiet

DATA = (
    "~data",
    "+data._target_=da.data.in_memory.InMemory",
    *("+data.seed=${seed}", "+data.num_classes=null"),
    *("+data.num_features=null", "+data.num_channels=null", "+data.length=null"),
    *("trainer.limit_val_batches=0", "monitor=none", "figures=none", "run_dir=none"),
)
"""Options in place of the data, and of all that a run writes."""


def compose_config(method: str, net: str, seed: int, overrides: Sequence[str]) -> DictConfig:
    """Return the config of a run on rows in memory, which are still to be described to it by `describe_rows`."""
    cfg = copy.deepcopy(_composed(f"method={method}", f"net={net}", *DATA, *overrides))
    cfg.names, cfg.seed = {"data": "arrays", "net": net, "method": method}, seed
    check_settings(cfg)
    return cfg


@lru_cache(maxsize=32)
def _composed(*overrides: str) -> DictConfig:
    """Compose conf/train.yaml once: it takes half a second, and a grid search asks for the same one many times."""
    register_resolvers()
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def describe_rows(cfg: DictConfig, x: Tensor, domain: Tensor, num_classes: int) -> None:
    """Write into the config what it asks of the data; a batch holds at most all rows of a domain."""
    cfg.data.num_classes = num_classes
    shape = {2: ("num_features",), 3: ("num_channels", "length")}.get(x.ndim, ())
    for fact, value in zip(shape, x.shape[1:], strict=False):
        cfg.data[fact] = value
    for stream, rows in (("source", domain > 0), ("target", domain < 0)):
        cfg.data.batch_size[stream] = min(cfg.data.batch_size[stream], int(rows.sum()) or len(x))


def drop_method(cfg: DictConfig) -> None:
    """Train on the source alone."""
    cfg.method, cfg.pretrain = OmegaConf.load(Path(config_dir()) / "method/source_only.yaml"), None


def set_weight(cfg: DictConfig, weight: float) -> None:
    """Set the one lambda of a method: the value that its schedule has, or ends at."""
    weights = cfg.method.get("weights") or {}
    known = {name: {"value", "high"} & set(node) for name, node in weights.items()}
    if len(known) != 1 or not all(known.values()):
        raise ValueError(
            f"weight={weight}: method={cfg.names.method} has "
            + (f"the weights {', '.join(sorted(weights))}" if weights else "no weight")
            + "; weight=None leaves them, and overrides=('method.weights.NAME...=...',) sets any of them"
        )
    ((name, (key,)),) = known.items()
    weights[name][key] = float(weight)


def train(cfg: DictConfig, x: Tensor, y: Tensor, domain: Tensor) -> Network:
    """Train as `da train` does, without anything that is written."""
    torch.manual_seed(cfg.seed)
    data, net = assemble(cfg, x=x, y=y, domain=domain)
    with tempfile.TemporaryDirectory() as folder:
        for stage in ("pretrain", "method") if cfg.pretrain is not None else ("method",):
            method = build_method(cfg, stage, net)
            data.load(method.streams, method.evaluated)
            introduce(method, data)
            trainer = build_trainer(
                cfg,
                Path(folder),
                callbacks=[*build_averaging(cfg), SeedEachBatch(cfg.seed)],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
            )
            with interruptible():
                trainer.fit(method, datamodule=data)
    net.watch(())
    return net.cpu().eval()


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Leave the random numbers, PyTorch's settings, warnings and environment of the process as they were."""
    numbers, python = np.random.get_state(), random.getstate()
    environ, log = dict(os.environ), logging.getLogger("pytorch_lightning")
    level = log.level
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only, benchmark = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        devices = [torch.cuda.current_device()] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), warnings.catch_warnings():
            quiet()
            yield
    finally:
        np.random.set_state(numbers)
        random.setstate(python)
        os.environ.clear()
        os.environ.update(environ)
        log.setLevel(level)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
