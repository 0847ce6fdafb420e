"""A finished run put to use: its network, and its data without the rows that it was trained on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from da.build import build
from da.data.base import DomainData
from da.models.network import Network
from da.models.saved import SavedRun, read_run, saved_network
from da.types import Role


@dataclass(frozen=True)
class FinishedRun(SavedRun):
    """What it takes to use a trained network."""

    data: DomainData  # that can read new rows
    net: Network  # with the chosen weights, in evaluation mode


def open_run(folder: str | Path, weights: str = "selected") -> FinishedRun:
    """Rebuild data and network of a run; nothing that it was trained on is opened, nor the files of pretrained weights.

    Args:
        folder: of the run, which `da train` made.
        weights: a name of `CHECKPOINTS`, or the path of a checkpoint of the same network.

    Raises:
        FileNotFoundError: there is no such folder or checkpoint.
        ValueError: the folder is no run's, the run did not finish ("selected" asks for that, no other weights do), or
            the checkpoint doesn't fit.
    """
    run = read_run(folder, weights)
    data: DomainData = build(run.cfg.data, "data")
    data.restore(run.recorded["state"])
    return FinishedRun(**vars(run), data=data, net=saved_network(run))


def choose_device(name: str) -> torch.device:
    """Return the device that "cpu", "cuda" or "auto" names; auto is CUDA where there is a device."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={name!r}: expected auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but PyTorch finds no CUDA device; device=cpu or auto will do")
    return torch.device("cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda")


@torch.inference_mode()
def network_logits(net: Network, batches: Iterable[Any], device: torch.device, role: Role = "target") -> Tensor:
    """Return the logits [n, c] of a domain's classes, of all batches of x below one another, on the CPU."""
    net = net.to(device).eval()
    return torch.cat([net.logits_of(role, net(moved(x, device))[1]).float().cpu() for x in batches])


def moved(x: Any, device: torch.device) -> Any:
    """Return an input of a network, a tensor or a mapping of such, on a device."""
    return {name: part.to(device) for name, part in x.items()} if isinstance(x, Mapping) else x.to(device)
