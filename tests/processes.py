"""Runs a function on two processes that train together (gloo)."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


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
