"""The one place that knows there may be other processes."""

import os
import socket
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, 0 when it is alone."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def gather(x: Tensor) -> Tensor:
    """Concatenate `x` [n, ...] over all ranks, with gradients; the identity on one process.

    Every rank then computes the same global value, and the backward pass sums over
    ranks. After DDP's averaging that is exactly the gradient of the single-process
    loss on the concatenated batch. All ranks must pass the same n (`StreamSampler`
    deals every rank the same number of rows).
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)
    return gathered


def check_port() -> None:
    """Raise OSError if the port where processes are to meet, MASTER_PORT of the environment, is another program's.

    To be called by the first process, before there are others: they would wait there for ever.
    """
    port = os.environ.get("MASTER_PORT")
    if port is None or "TORCHELASTIC_RUN_ID" in os.environ or (dist.is_available() and dist.is_initialized()):
        return  # Lightning looks for a free one; torchrun's is its own; the processes have met
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", int(port)))
        except OSError as error:
            raise OSError(f"MASTER_PORT={port} is in use; set another one, or none to have a free one found") from error


def close() -> None:
    """Leave the process group, if there is one, so that the next run in this process can make its own."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def mean_over_ranks(x: Tensor) -> Tensor:
    """Mean of `x` over all ranks, without gradients."""
    if world_size() == 1:
        return x
    x = x.clone()
    dist.all_reduce(x)
    return x / world_size()


def max_over_ranks(*numbers: int) -> list[int]:
    """Largest of each number over all ranks, so that they decide alike."""
    if world_size() == 1:
        return list(numbers)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    largest = torch.tensor(numbers, device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    found: list[int] = largest.tolist()
    return found


def shard(x: Tensor) -> Tensor:
    """Return this rank's rows of `x`, which was made for all ranks alike: the inverse of `gather`."""
    return x.chunk(world_size())[rank()]
