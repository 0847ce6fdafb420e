"""Everything in conf/ is discovered, so a new yaml is a new test."""

import copy
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # read when it is imported: no test waits for a network

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from torch import nn

from da.build import check
from da.callbacks.selection import Scores
from da.cli import main
from da.compose import compose_config
from da.data.rows import Draw, Rows
from da.models.mlp import Mlp
from da.models.network import Network
from da.settings import GROUPS, check_settings, register_resolvers
from da.types import HIDDEN, Encoded, Samples, Step

CONF = Path(__file__).parents[1] / "conf"
TOY = ("data=toy", "net=mlp", "trainer=smoke", "figures=none")

torch.set_num_threads(1)
register_resolvers()


def options(group: str) -> list[str]:
    """Names of the configs in a group; a leading underscore hides one that is only a base."""
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


def config(*overrides: str, run_dir: Path | str = "unused") -> DictConfig:
    """Compose train.yaml as the command line would; the same options need not be composed twice."""
    cfg = copy.deepcopy(_composed(overrides))
    cfg.run_dir = str(run_dir)
    return cfg


_composed = functools.lru_cache(maxsize=500)(compose_config)


def check_options(cfg: DictConfig) -> None:
    """Raise for settings that a run refuses, and for options of anything it builds that there are not."""
    check_settings(cfg)
    facts = {"num_classes": 2, "num_features": 5, "num_channels": 3, "length": 50, "cardinalities": [3]}
    for fact in facts.keys() & cfg.data.keys():  # what null stands for, only the data can tell
        cfg.data[fact] = facts[fact] if cfg.data[fact] is None else cfg.data[fact]
    for group in GROUPS & cfg.keys():
        if cfg[group]:
            check(OmegaConf.to_container(cfg[group], resolve=True), group)


def call(*words: object) -> int:
    """Run `da` in this process; return its exit status."""
    argv = sys.argv
    sys.argv = ["da", *map(str, words)]
    try:
        return main()
    finally:
        sys.argv = argv


def same_tests(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two runs' test results are equal: sums of probabilities to 1e-6, as processes add in another order."""
    exact = {name: values for name, values in one.items() if name not in ("target_ece", "target_brier")}
    return all(other[name] == values for name, values in exact.items()) and all(
        other[name] == pytest.approx(one[name], abs=1e-6) for name in one.keys() - exact.keys()
    )


class PowerCutError(Exception):
    pass


@contextmanager
def power_cut(epoch: int, batch: int) -> Iterator[None]:
    """Cut the run inside before this batch of this epoch, both from 0; it is an error if it never comes to it."""

    def cut(_self: object, trainer: Trainer, _module: object, _batch: object, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == (epoch, batch):
            raise PowerCutError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Scores, "on_train_batch_start", cut)
        with pytest.raises(PowerCutError):
            yield


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Standard normal numbers, the same ones every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def everything(rows: Rows) -> Samples:
    """All rows of a data set as one batch."""
    return rows[Draw(torch.arange(len(rows)), 0)]


def encoded(n: int, d: int = 5, c: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Encoded:
    """A stream of n encoded rows, with every class among the labels."""
    rows = torch.arange(n)
    z, logits = normal(n, d, seed=seed, dtype=dtype), normal(n, c, seed=seed + 1, dtype=dtype)
    return Encoded(z, logits, rows % c, rows % 2, rows)


class Net(Network):
    """Four inputs, five features, three classes; nothing in it is random or depends on the batch."""

    def __init__(self, dtype: torch.dtype = torch.float64, head: Callable[[int, int], nn.Module] | None = None) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__(Mlp(4, [8, 5]), feature_dim=5, num_classes=3, head=head)
        self.to(dtype)


SIZES = {"source": 12, "target": 9, "target_strong": 9, "labeled": 6, "oracle": 9}


def make_step(n: int = 12, m: int = 9, progress: float = 0.5, dtype: torch.dtype = torch.float64) -> Step:
    """A step whose streams are all there, with different numbers of rows.

    Features and logits are random numbers, not what the network makes of x: each is a leaf of its own.
    """
    sizes = {**SIZES, "source": n, "target": m, "target_strong": m, "oracle": m}
    streams = {name: encoded(size, seed=10 * i, dtype=dtype) for i, (name, size) in enumerate(sizes.items())}
    for name in ("target", "target_strong"):
        streams[name] = streams[name]._replace(y=torch.full_like(streams[name].y, HIDDEN))
    streams = {
        name: rows._replace(
            layers={
                layer: normal(len(rows.y), width, seed=seed + i, dtype=dtype)
                for layer, width, seed in (("backbone", 5, 90), ("head.bridge", 3, 190))
            }
        )
        for i, (name, rows) in enumerate(streams.items())
    }
    batch = {
        name: Samples(normal(len(rows.y), 4, seed=70 + i, dtype=dtype), rows.y, rows.domain, rows.index)
        for i, (name, rows) in enumerate(streams.items())
    }
    batch["labeled_twin"] = batch["labeled"]._replace(x=normal(SIZES["labeled"], 4, seed=79, dtype=dtype))
    return Step(streams, progress, batch, Net(dtype))


@pytest.fixture
def clouds() -> tuple[torch.Tensor, torch.Tensor]:
    return normal(24, 5), normal(17, 5, seed=1)


def views(weak, strong):
    """A step whose target rows have these logits, and those under strong augmentation."""
    step = make_step(m=len(weak))
    streams = {
        "target": step.target._replace(logits=weak),
        "target_strong": step.streams["target_strong"]._replace(logits=strong),
    }
    return step._replace(streams=streams)
