"""Pretrained weights in .safetensors files: found by name, checked and read."""

import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

SHA256 = {
    "cifar_resnet20_cifar10.safetensors": "8aef6e2621a20573617f45beaf33bbd7126c9f2b671e73eede0ce980e2a37f24",
    "mobilenet_v2_imagenet.safetensors": "57fc1e0a59506778320a456f0723d4cde53bbbce398cd08e1895982e161bab0e",
    "squeezenet1_0_imagenet.safetensors": "42f18101a2745f291ca4a7e0236fc036535667a92ec69fc4d403a16b54bebdf4",
    "tf_efficientnet_lite0_imagenet.safetensors": "733c6f520515432c6cc2e6f230ad25004d77982cc0bd662723d075184e645f6d",
}
"""Of the files that the project's own runs start from; a file of one of these names is used only if it is that file."""

SUFFIX = ".safetensors"
ROOT_VARIABLE = "DA_DATA_ROOT"


def read_weights(weights: str, downloads: str) -> dict[str, Tensor]:
    """Return the tensors of the file that `weights` names, half-precision ones as float32.

    Args:
        weights: a path, absolute, from here or from `<DA_DATA_ROOT>/weights`, with or without the suffix .safetensors.
        downloads: what else `net.backbone.weights` might have named, for the message: "torchvision's resnet18 has ...".

    Raises:
        FileNotFoundError: there is no such .safetensors file.
        ValueError: a word that is neither a file nor among the downloads; a damaged file; one that bears the name of
            one of `SHA256` and is another.
    """
    path = _find(weights, downloads)
    if path.name in SHA256:
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        if found != SHA256[path.name]:
            raise ValueError(
                f"{path} is not the file of this name: its sha256 is {found}, expected {SHA256[path.name]}. "
                "Copy it again; weights of your own need another name"
            )
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def _find(weights: str, downloads: str) -> Path:
    named = Path(weights if weights.endswith(SUFFIX) else weights + SUFFIX).expanduser()
    root = os.environ.get(ROOT_VARIABLE)
    tried = [named] if named.is_absolute() or not root else [named, Path(root).expanduser() / "weights" / named]
    for path in tried:
        if path.is_file():
            return path
    places = " nor ".join(map(str, tried)) + (
        "" if root else f" ({ROOT_VARIABLE}, whose weights/ is looked into too, is not set)"
    )
    if weights.endswith(SUFFIX):
        raise FileNotFoundError(f"net.backbone.weights={weights}: no such file: there is neither {places}")
    raise ValueError(f"net.backbone.weights={weights}: {downloads}; and of files there is neither {places}")
