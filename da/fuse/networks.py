"""Networks to fuse: read from runs and checkpoints, checked against one another, and the result written as one more."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from da.models.saved import chosen_checkpoint, read_json
from da.models.state import load_checkpoint
from da.record import CONFIG_FILE, DATA_FILE, whole_file

NET = "net."
"""What the names of a network's weights begin with in the checkpoint of a run."""


class Given(NamedTuple):
    """A network that was named on the command line."""

    name: str  # as it was named
    state: dict[str, Tensor]
    run: Path | None  # the folder of its run, where that is known


def read_network(name: str, weights: str = "selected") -> Given:
    """Read the network of a run's folder (these `weights` of it) or of a checkpoint.

    Raises FileNotFoundError where there is neither, and ValueError for what is no network.
    """
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(f"there is no run and no checkpoint at {name}")
    checkpoint = chosen_checkpoint(path, weights) if path.is_dir() else path
    stored = load_checkpoint(checkpoint)["state_dict"]
    state = {key.removeprefix(NET): value for key, value in stored.items() if key.startswith(NET)}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{checkpoint} holds no network: none of its names begins with {NET!r}")
    return Given(name, state, path if path.is_dir() else _run_of(checkpoint))


def _run_of(checkpoint: Path) -> Path | None:
    """Return the folder of the run that wrote RUN/checkpoints/*.ckpt or RUN/pretrain/checkpoints/*.ckpt."""
    above = list(checkpoint.absolute().parents[1:3]) if checkpoint.absolute().parent.name == "checkpoints" else []
    return next((folder for folder in above if (folder / CONFIG_FILE).is_file()), None)


def check_classes(given: Sequence[Given], run: Path | None = None) -> None:
    """Raise ValueError if the runs of two networks, where they are known, have other classes, or in another order."""
    runs = [run, *(network.run for network in given)]
    known = [
        (folder, read_json(folder / DATA_FILE)["classes"])
        for folder in runs
        if folder is not None and (folder / DATA_FILE).is_file()
    ]
    for folder, classes in known[1:]:
        first, expected = known[0]
        if classes != expected:
            raise ValueError(
                f"the classes of {folder} are {', '.join(classes[:5])} ({len(classes)}), but those of {first} are "
                f"{', '.join(expected[:5])} ({len(expected)}): their outputs mean different things"
            )


def write_network(path: Path, state: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write a checkpoint that `init_from=`, `da predict --weights` and `da export --weights` take; whole or not at all.

    It has the layout of a run's: tensors and plain values. `record` says what was fused, and stands under "fused".
    """
    with whole_file(path) as draft:
        torch.save({"state_dict": {f"{NET}{key}": value for key, value in state.items()}, "fused": dict(record)}, draft)
