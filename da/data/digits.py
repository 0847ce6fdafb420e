"""MNIST, USPS, SVHN, MNIST-M and SYN digits: every pair of them is a domain-adaptation task."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor
from torchvision import datasets

from da.data.base import Domain
from da.data.download import (
    checked_sha256,
    data_root,
    how_to_set_root,
    read_torchvision,
    sha256,
)
from da.data.image_inputs import ImageInputs
from da.data.images import Affine, Chain, ToNetwork, resize
from da.data.mnistm import FETCH_PHOTOS, blend, find_photos
from da.data.rows import TensorRows, Transform, hold_out
from da.types import Role

NAMES = ("mnist", "usps", "svhn", "mnistm", "synth")
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

SYNTH_FILES = {"train": "synth_train_32x32.mat", "test": "synth_test_32x32.mat"}
FETCH_SYNTH = "Fetch SynthDigits.zip from http://yaroslav.ganin.net (Ganin & Lempitsky 2015) and unpack it into"


class Images(NamedTuple):
    """Both splits of a domain, and the sha256 of what they were read from."""

    x_train: Tensor  # uint8 [n, h, w] or [n, 3, h, w]
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    sha256: str


class Digits(ImageInputs):
    """Two of mnist, usps, svhn, mnistm and synth as source and target.

    The protocol of SHOT, CDAN and TLL ("full"): the target's whole train split without labels, scored on the
    target's test split; `val_fraction` of the source's train split is held out. The target's val rows are its
    train rows. USPS is the file with 7,291 train and 2,007 test images.

    Files are looked for in this order: `<root>/digits/mnist.npz` (checked against its sha256), then for mnist, usps and
    svhn torchvision's files under `<root or ~/.cache/lambda-da>/torchvision`, which are downloaded if missing. For
    synth (SYN digits) the published `synth_{train,test}_32x32.mat` in `<root>/digits`. MNIST-M is made: it was only
    published as a pickle (`da.data.mnistm`). An npz of mnistm or synth holds x_train, y_train, x_test, y_test, the
    images as uint8 [n, h, w, 3].

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
        self.transform = ToNetwork(channels, size)
        self.augmented: Transform = Chain((Affine(**augment), self.transform)) if augment else self.transform
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
    digits = (data_root(root) or Path("<data.root>")) / "digits"
    file = digits / f"{name}.npz"
    if name != "svhn" and file.is_file():
        return _read_npz(file)
    if name == "mnistm":
        return _make_mnistm(digits, root)
    if name == "synth":
        return _read_synth(digits, root)
    also = f"{file}, " if file.name in SHA256 else ""
    return read_torchvision(name, lambda folder, fetch: _read_torchvision(name, folder, fetch), WEB[name], root, also)


def _read_npz(file: Path) -> Images:
    found = checked_sha256(file, SHA256.get(file.name), ", or remove it to have torchvision's files used instead")
    with np.load(file, allow_pickle=False) as arrays:
        tensors = {key: torch.from_numpy(arrays[key]) for key in ("x_train", "y_train", "x_test", "y_test")}
    for key, x in tensors.items():
        if x.ndim == 4 and x.shape[-1] == 3:
            tensors[key] = x.permute(0, 3, 1, 2).contiguous()
    return Images(**tensors, sha256=found)


def _make_mnistm(digits: Path, root: str | None) -> Images:
    photos = find_photos(digits)
    if photos is None:
        raise FileNotFoundError(
            f"no images of 'mnistm': looked for {digits}/mnistm.npz, and for photos to make them of. "
            f"{FETCH_PHOTOS} {digits}. {how_to_set_root(root)}"
        )
    mnist = read_digits("mnist", root)
    x_train, x_test = (blend(x, photos, part) for x, part in ((mnist.x_train, "train"), (mnist.x_test, "test")))
    return Images(x_train, mnist.y_train, x_test, mnist.y_test, _content_hash(x_train, x_test))


def _read_synth(digits: Path, root: str | None) -> Images:
    files = {part: digits / name for part, name in SYNTH_FILES.items()}
    if not all(file.is_file() for file in files.values()):
        raise FileNotFoundError(
            f"no images of 'synth': looked for {digits}/synth.npz and for {' and '.join(SYNTH_FILES.values())} there. "
            f"{FETCH_SYNTH} {digits}. {how_to_set_root(root)}"
        )
    hashes = "".join(sha256(file) for file in files.values())
    parts = {part: _read_mat(file) for part, file in files.items()}
    return Images(*parts["train"], *parts["test"], sha256=hashlib.sha256(hashes.encode()).hexdigest())


def _read_mat(file: Path) -> tuple[Tensor, Tensor]:
    """Read images uint8 [n, 3, h, w] and labels from a .mat file laid out as SVHN's: X [h, w, 3, n], y [n, 1]."""
    content = loadmat(file, variable_names=["X", "y"])
    x = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
    return torch.from_numpy(x), torch.from_numpy(content["y"].reshape(-1).astype(np.int64) % 10)  # 10 may stand for 0


def _read_torchvision(name: str, folder: Path, download: bool) -> Images:
    train, test = (_open_torchvision(name, split, folder, download) for split in ("train", "test"))
    return Images(*train, *test, _content_hash(*train, *test))


def _content_hash(*parts: Tensor) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def _open_torchvision(name: str, split: str, folder: Path, download: bool) -> tuple[Tensor, Tensor]:
    if name == "svhn":
        svhn = datasets.SVHN(folder, split=split, download=download)
        return torch.from_numpy(np.ascontiguousarray(svhn.data)), torch.from_numpy(svhn.labels)
    kind = datasets.MNIST if name == "mnist" else datasets.USPS
    digits = kind(folder, train=split == "train", download=download)
    return torch.as_tensor(digits.data), torch.as_tensor(digits.targets)
