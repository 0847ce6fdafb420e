"""Runs a function, or a whole run, on processes that train together (gloo)."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from da.run import run


def _worker(rank: int, world: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    try:
        torch.save(function(rank, world, *arguments), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_processes(world: int, function: Callable[..., Any], *arguments: Any, fresh: bool = False) -> list[Any]:
    """Call function(rank, world, *arguments) on `world` processes; return what each gave.

    They are forked, so that none imports PyTorch again, which is most of the time of a short test; `fresh` ones start
    anew, without what this process has wrapped.
    """
    start = "spawn" if fresh else "fork"
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_worker, (world, folder, function, arguments), nprocs=world, start_method=start)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(world)]


def join_processes(rank: int, world: int) -> None:
    """Let Lightning take this process for one that torchrun has started."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    rank_zero_only.rank = rank  # Lightning reads it as it is imported, which the forked process does not do again


def _run(rank: int, world: int, cfg: DictConfig) -> None:
    join_processes(rank, world)
    run(cfg)


def run_on(world: int, cfg: DictConfig) -> None:
    """Train and test the run of the config, which says trainer=ddp_cpu, on forked processes.

    Not on data that are read from tables: the threads of Polars are in no forked process, which would wait for them.
    """
    on_processes(world, _run, cfg)
