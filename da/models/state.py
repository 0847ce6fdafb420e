"""State dicts: read without executing anything, and compared with what they should fit."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint as tensors and plain values; pickled code in it is refused, not executed.

    Raises FileNotFoundError, or ValueError for a file that is not such a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or holds more than tensors and plain values, and was not loaded: {_first_line(error)}"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of a run: it has no 'state_dict'")
    return checkpoint


def load_network(net: nn.Module, path: str | Path) -> None:
    """Take the weights of the network of another run's checkpoint; ValueError if it is not one like `net`."""
    _load(net, path, "net.", "the net of this run")


def load_backbone(backbone: nn.Module, path: str | Path) -> None:
    """Take the weights of the backbone of another run's checkpoint, and leave its bottleneck and head.

    Raises FileNotFoundError, or ValueError for a file that is no checkpoint or has another backbone.
    """
    _load(backbone, path, "net.backbone.", "this backbone")


def _load(module: nn.Module, path: str | Path, prefix: str, what: str) -> None:
    state = load_checkpoint(path)["state_dict"]
    weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    check_fits(weights, module.state_dict(), str(path), what)
    module.load_state_dict(weights)


def check_fits(state: dict[str, Tensor], expected: dict[str, Tensor], where: str, what: str) -> None:
    """Raise ValueError naming the first differences if `state` is not a state dict like `expected`."""
    missing, surplus = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & state.keys())
        if state[key].shape != expected[key].shape
    ]
    if missing or surplus or shapes:
        found = {"missing": missing, "unexpected": surplus, "other shape": shapes}
        text = "; ".join(f"{kind} ({len(keys)}): {', '.join(keys[:3])}" for kind, keys in found.items() if keys)
        raise ValueError(f"{where} does not fit {what}: {text}")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
