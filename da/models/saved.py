"""What a run left behind in its folder, and its network rebuilt from there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from da.build import build
from da.models.network import Network
from da.models.state import load_network
from da.record import CONFIG_FILE, DATA_FILE, RESULTS_FILE

CHECKPOINTS = {"selected": "checkpoints/selected.ckpt", "last": "checkpoints/last.ckpt"}
"""In a run's folder: the weights that the validator chose, and those after the last epoch."""


@dataclass(frozen=True)
class SavedRun:
    """What the files of a run say, and which weights of it are meant.

    Weights are read as tensors only, but the configuration names the classes that are built: use runs that you trust.
    """

    folder: Path
    results: dict[str, Any]  # results.json
    recorded: dict[str, Any]  # data.json
    cfg: DictConfig  # config.yaml
    checkpoint: Path


def read_run(folder: str | Path, weights: str = "selected") -> SavedRun:
    """Read what a run says of itself; the checkpoint is not opened.

    Args:
        folder: of the run, which `da train` made.
        weights: a name of `CHECKPOINTS`, or the path of a checkpoint of the same network.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder is no run's, or the run did not finish ("selected" asks for that, no other weights do).
    """
    folder = Path(folder)
    checkpoint = chosen_checkpoint(folder, weights)
    return SavedRun(folder, read_results(folder), read_json(folder / DATA_FILE), read_config(folder), checkpoint)


def chosen_checkpoint(folder: Path, weights: str = "selected") -> Path:
    """Return where these weights of a run are; see `read_run` for the arguments, and for what it raises."""
    results = read_results(folder)
    if weights == "selected" and results["status"] != "complete":
        raise ValueError(
            f"the run {folder} did not finish (status {results['status']!r}"
            + (f": {results['error']}" if results.get("error") else "")
            + f"); what it had learnt by then is in {CHECKPOINTS['last']} there (--weights last)"
        )
    return folder / CHECKPOINTS[weights] if weights in CHECKPOINTS else Path(weights)


def saved_network(run: SavedRun) -> Network:
    """Rebuild the network of a run, with the weights that are meant, in evaluation mode.

    Raises FileNotFoundError if there is no checkpoint, ValueError if it does not fit or holds more than tensors.
    """
    net = build_network(run.cfg.net)
    load_network(net, run.checkpoint)
    return net


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
