"""A finished run put to use: its network, and its data without the rows that it was trained on."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from da.assemble import DATA_FILE
from da.build import build
from da.data.base import DomainData
from da.models.network import Network
from da.models.state import load_network
from da.record import CONFIG_FILE
from da.types import Role

RESULTS_FILE = "results.json"
CHECKPOINTS = {"selected": "checkpoints/selected.ckpt", "last": "checkpoints/last.ckpt"}
"""In a run's folder: the weights that the validator chose, and those after the last epoch."""


class FinishedRun(NamedTuple):
    """What it takes to use a trained network."""

    folder: Path
    results: dict[str, Any]  # results.json
    recorded: dict[str, Any]  # data.json
    cfg: DictConfig
    data: DomainData  # that can read new rows
    net: Network  # with the chosen weights, in evaluation mode
    checkpoint: Path


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
    folder = Path(folder)
    checkpoint = chosen_checkpoint(folder, weights)
    results, recorded = read_results(folder), read_json(folder / DATA_FILE)
    cfg = read_config(folder)
    data: DomainData = build(cfg.data, "data")
    data.restore(recorded["state"])
    net = build_network(cfg.net)
    load_network(net, checkpoint)
    return FinishedRun(folder, results, recorded, cfg, data, net, checkpoint)


def chosen_checkpoint(folder: Path, weights: str = "selected") -> Path:
    """Return where these weights of a run are; see `open_run` for the arguments, and for what it raises."""
    results = read_results(folder)
    if weights == "selected" and results["status"] != "complete":
        raise ValueError(
            f"the run {folder} did not finish (status {results['status']!r}"
            + (f": {results['error']}" if results.get("error") else "")
            + "); --weights last takes what it had learnt by then"
        )
    return folder / CHECKPOINTS[weights] if weights in CHECKPOINTS else Path(weights)


PRETRAINED = ("weights", "source_checkpoint")
"""Options of a backbone, and of those inside it, that name a file to start from."""


def build_network(node: DictConfig) -> Network:
    """Build a network, in evaluation mode, whose weights are loaded afterwards: a pretrained start is left out."""
    plain: Any = OmegaConf.to_container(node, resolve=True)
    plain["backbone"] = _without_start(plain["backbone"])
    with torch.random.fork_rng(devices=[]):
        net: Network = build(OmegaConf.create(plain), "net")
    return net.eval()


def _without_start(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: None if key in PRETRAINED else _without_start(value) for key, value in node.items()}


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


def read_results(folder: Path) -> dict[str, Any]:
    """Return results.json; FileNotFoundError or ValueError where the folder is no run's."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    if not (folder / RESULTS_FILE).is_file():
        below = sorted(path.parent for path in folder.rglob(RESULTS_FILE))
        hint = f"; there are {len(below)} runs below it, such as {below[0]}" if below else ""
        raise ValueError(f"{folder} is not the folder of a run: it has no {RESULTS_FILE}{hint}")
    return read_json(folder / RESULTS_FILE)


def read_config(folder: Path) -> DictConfig:
    """Return the resolved configuration of a run; ValueError if the run ended before it was written."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ValueError(_incomplete(path))
    cfg = OmegaConf.load(path)
    assert isinstance(cfg, DictConfig)
    return cfg


def read_json(path: Path) -> dict[str, Any]:
    """Return a file of a run's folder; ValueError if it is missing or damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(_incomplete(path)) from error
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    return content


def _incomplete(path: Path) -> str:
    return f"{path.parent} has no {path.name}: the run ended too early, or is of an older version"
