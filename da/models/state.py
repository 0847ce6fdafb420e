"""State dicts: read without executing anything, and compared with what they should fit."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from da.sharding import load_whole_state


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint as tensors and plain values; pickled code in it is refused, not executed.

    Raises FileNotFoundError, or ValueError for a file that is not such a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of any kind: the reader takes whatever bytes there are for its instructions
        raise ValueError(
            f"{path} is damaged or holds more than tensors and plain values, and was not loaded: {_first_line(error)}"
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of a run: it has no 'state_dict'")
    return checkpoint


def load_network(net: nn.Module, path: str | Path, parts: Sequence[str] | None = None) -> list[str]:
    """Take the weights of the network of another run's checkpoint; return the parts that are left as they are.

    Args:
        net: what to load into. Where it has a head for each domain and the checkpoint has one head, that becomes the
            source's, and the target's is left as it is.
        path: of the checkpoint.
        parts: names of submodules, to take these only; None: all.

    Raises ValueError if the checkpoint does not fit, or for a part that the network lacks.
    """
    weights = _weights_below("net.", path)
    expected = net.state_dict()
    if unknown := [part for part in parts or () if not any(below(key, part) for key in expected)]:
        raise ValueError(f"init_parts={list(parts or ())}: the network has no part {unknown[0]!r} with weights")
    if _below_any(expected, "head.target") and not _below_any(weights, "head.target"):
        weights = {_REHEADED.sub("head.source.", key): value for key, value in weights.items()}
        expected = {key: value for key, value in expected.items() if not below(key, "head.target")}
    if parts is not None:
        weights, expected = (
            {key: value for key, value in each.items() if any(below(key, part) for part in parts)}
            for each in (weights, expected)
        )
    check_fits(weights, expected, str(path), "the net of this run")
    load_whole_state(net, weights, strict=False)
    left = net.state_dict().keys() - weights.keys()
    return sorted({".".join(key.split(".")[: 2 if key.startswith("head.") else 1]) for key in left})


_REHEADED = re.compile(r"^head\.")


def load_backbone(backbone: nn.Module, path: str | Path) -> None:
    """Take the weights of the backbone of another run's checkpoint, and leave its bottleneck and head.

    Raises FileNotFoundError, or ValueError for a file that is no checkpoint or has another backbone.
    """
    weights = _weights_below("net.backbone.", path)
    check_fits(weights, backbone.state_dict(), str(path), "this backbone")
    backbone.load_state_dict(weights)


def _weights_below(prefix: str, path: str | Path) -> dict[str, Tensor]:
    state = load_checkpoint(path)["state_dict"]
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def below(key: str, name: str) -> bool:
    """Whether the parameter `key` is that of this name, or lies below it; all lie below ""."""
    return not name or key == name or key.startswith(f"{name}.")


def owner(key: str, names: Iterable[str]) -> str | None:
    """Return the longest of `names` that the parameter `key` lies below, None if there is none."""
    return max((name for name in names if below(key, name)), key=len, default=None)


def _below_any(state: Mapping[str, Tensor], name: str) -> bool:
    return any(below(key, name) for key in state)


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
