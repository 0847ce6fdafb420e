"""Everything in conf/ is discovered, so a new yaml is a new test."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict

from da.settings import register_resolvers
from da.types import Encoded, Step

CONF = Path(__file__).parents[1] / "conf"
TOY = ("data=toy", "net=mlp", "trainer=smoke", "figures=none")

torch.set_num_threads(1)
register_resolvers()


def options(group: str) -> list[str]:
    """Names of the configs in a group; a leading underscore hides one that is only a base."""
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


def config(*overrides: str, run_dir: Path | str = "unused") -> DictConfig:
    """Compose train.yaml as the command line would."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[*overrides, f"run_dir={run_dir}"], return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    with open_dict(cfg):
        cfg.names = {key: choices[key] for key in ("data", "net", "method")}
        del cfg.hydra
    return cfg


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Standard normal numbers, the same ones every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def encoded(n: int, d: int = 5, c: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Encoded:
    """A stream of n encoded rows, with every class among the labels."""
    rows = torch.arange(n)
    return Encoded(normal(n, d, seed=seed, dtype=dtype), normal(n, c, seed=seed + 1, dtype=dtype), rows % c, rows, rows)


def make_step(n: int = 12, m: int = 9, progress: float = 0.5, dtype: torch.dtype = torch.float64) -> Step:
    """A step whose streams are all there, with different numbers of rows."""
    sizes = {"source": n, "target": m, "labeled": 6, "oracle": m}
    streams = {name: encoded(size, seed=10 * i, dtype=dtype) for i, (name, size) in enumerate(sizes.items())}
    streams["target"] = streams["target"]._replace(y=torch.full_like(streams["target"].y, -1))
    return Step(streams, progress)


@pytest.fixture
def clouds() -> tuple[torch.Tensor, torch.Tensor]:
    return normal(24, 5), normal(17, 5, seed=1)
