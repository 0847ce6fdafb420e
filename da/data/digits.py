"""MNIST, USPS and SVHN: every pair of them is a domain-adaptation task."""

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from da.data.base import Domain, DomainData, hold_out
from da.data.images import Affine, Chain, ToNetwork, resize
from da.data.rows import TensorRows, Transform
from da.data.streams import Role

NAMES = ("mnist", "usps", "svhn")
"""The domains; a domain's id is its place here."""

SHA256 = {
    "mnist.npz": "094b831e432331f1f6d6829ab9bfff4551410a81e1f816c9cce482d3e9b3ba57",
    "usps.npz": "b41b4ded34b54aef8f8e86043bc5bdfa229cdc4528cbe6ec9c91101a8d32221f",
}

WEB = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "usps": "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.bz2",
    "svhn": "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
}
"""Where torchvision downloads from."""

PROBE_SECONDS = 8.0

ROOT_VARIABLE = "DA_DATA_ROOT"
CACHE = Path("~/.cache/lambda-da")


class Images(NamedTuple):
    """Both splits of a domain, and the sha256 of what they were read from."""

    x_train: Tensor  # uint8 [n, h, w] or [n, 3, h, w]
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    sha256: str


class Digits(DomainData):
    """Two of mnist, usps and svhn as source and target.

    The protocol of SHOT, CDAN and TLL ("full"): the target's whole train split without labels, scored on the
    target's test split; `val_fraction` of the source's train split is held out. The target's val rows are its
    train rows. USPS is the file with 7,291 train and 2,007 test images.

    Files are looked for in this order: `<root>/digits/mnist.npz` (checked against its sha256), then
    torchvision's files under `<root or ~/.cache/lambda-da>/torchvision`, which are downloaded if missing.

    Args:
        source, target: two different names of `NAMES`.
        root: folder of the data; None: the environment variable DA_DATA_ROOT.
        usps_file: "7291", the number of train images in the USPS file.
        size: height and width of the images.
        channels: of the images the network gets, 1 or 3.
        augment: arguments of `Affine`, for the source train rows only; None: nothing is augmented.
        val_fraction: of the source train rows.
        settings: of `DomainData`.

    Raises:
        ValueError: an unknown or repeated name, another USPS file, a file that is not what it should be.
        FileNotFoundError: neither a file nor a network.
    """

    def __init__(
        self,
        source: str = "mnist",
        target: str = "usps",
        root: str | None = None,
        usps_file: str | int = "7291",
        size: int = 28,
        channels: int = 1,
        augment: Mapping[str, float] | None = None,
        val_fraction: float = 0.1,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        for role, name in (("source", source), ("target", target)):
            if name not in NAMES:
                raise ValueError(f"data.{role} is {name!r}, but the digits are {list(NAMES)}")
        if source == target:
            raise ValueError(f"data.source and data.target are both {source!r}: choose two of {list(NAMES)}")
        if str(usps_file) != "7291":
            raise ValueError(
                f"data.usps_file is {usps_file!r}, but only '7291' can be read (7,291 train and 2,007 test images). "
                "The other file in use, CoGAN's with 7,438 and 1,860, is a pickle: loading it would execute code"
            )
        self._names: dict[Role, str] = {"source": source, "target": target}
        self.root, self.size, self.val_fraction = root, size, val_fraction
        self.transform: Transform = ToNetwork(channels, size)
        self.augmented = Chain((Affine(**augment), self.transform)) if augment else self.transform
        self._hashes: dict[str, str] = {}

    def names(self) -> dict[Role, str]:
        return dict(self._names)

    def hashes(self) -> dict[str, str]:
        return dict(self._hashes)

    def read(self, role: Role) -> Domain:
        name = self._names[role]
        images, number = read_digits(name, self.root), NAMES.index(name)
        self._hashes[name] = images.sha256
        x = resize(images.x_train, self.size)
        rows = TensorRows(x, images.y_train, number, self.transform)
        test = TensorRows(resize(images.x_test, self.size), images.y_test, number, self.transform)
        if role == "target":
            return Domain(name, rows, rows, test)
        train, _ = hold_out(TensorRows(x, images.y_train, number, self.augmented), self.val_fraction)
        _, val = hold_out(rows, self.val_fraction)
        return Domain(name, train, val, test)


def read_digits(name: str, root: str | None) -> Images:
    """Read a domain from the first place that has it."""
    folder = root or os.environ.get(ROOT_VARIABLE)
    file = Path(folder).expanduser() / "digits" / f"{name}.npz" if folder and f"{name}.npz" in SHA256 else None
    if file is not None and file.is_file():
        return _read_npz(file)
    downloads = (Path(folder) if folder else CACHE).expanduser() / "torchvision"
    try:
        with _patience(30.0):
            return _read_torchvision(name, downloads)
    except (OSError, RuntimeError, EOFError) as error:
        raise FileNotFoundError(
            f"no images of {name!r}: looked for "
            + (f"{file}, " if file else "")
            + f"torchvision's files in {downloads}, and a download from {WEB[name]} ({error}). Set the environment "
            f"variable {ROOT_VARIABLE} (now {os.environ.get(ROOT_VARIABLE)!r}) or data.root (now {root!r}) to a folder "
            "that has them, or run once with a network"
        ) from error


def sha256(file: Path) -> str:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _read_npz(file: Path) -> Images:
    found, expected = sha256(file), SHA256[file.name]
    if found != expected:
        raise ValueError(
            f"{file} is not the file it should be: its sha256 is {found}, expected {expected}. Copy it again, or "
            "remove it to have torchvision's files used instead"
        )
    with np.load(file, allow_pickle=False) as arrays:
        tensors = {key: torch.from_numpy(arrays[key]) for key in ("x_train", "y_train", "x_test", "y_test")}
        return Images(**tensors, sha256=found)


def _read_torchvision(name: str, folder: Path) -> Images:
    """Read torchvision's files; they are downloaded only if they're missing and the web site answers."""
    try:
        train, test = (_open_torchvision(name, split, folder, download=False) for split in ("train", "test"))
    except (OSError, RuntimeError, EOFError):
        _probe(WEB[name])
        train, test = (_open_torchvision(name, split, folder, download=True) for split in ("train", "test"))
    digest = hashlib.sha256(b"".join(part.numpy().tobytes() for part in (*train, *test)))
    return Images(*train, *test, digest.hexdigest())


def _open_torchvision(name: str, split: str, folder: Path, download: bool) -> tuple[Tensor, Tensor]:
    if name == "svhn":
        svhn = datasets.SVHN(folder, split=split, download=download)
        return torch.from_numpy(np.ascontiguousarray(svhn.data)), torch.from_numpy(svhn.labels)
    kind = datasets.MNIST if name == "mnist" else datasets.USPS
    digits = kind(folder, train=split == "train", download=download)
    return torch.as_tensor(digits.data), torch.as_tensor(digits.targets)


def _probe(url: str) -> None:
    """Raise ConnectionError unless the web site answers within `PROBE_SECONDS`, name resolution included."""
    failure: list[OSError] = []

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
        except HTTPError:  # a refusal is an answer
            pass
        except OSError as error:
            failure.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if failure or thread.is_alive():
        raise ConnectionError(failure[0] if failure else f"no answer in {PROBE_SECONDS:g} seconds")


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Let no socket wait longer than this: torchvision sets no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
