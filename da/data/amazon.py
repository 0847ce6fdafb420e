"""Amazon product reviews as counts of 5,000 words and word pairs: four domains, good or bad."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from da.data.arrays import read_arrays
from da.data.download import checked_sha256
from da.data.records import Records, content_hashes, labelled_sha256
from da.data.rows import Draw, Rows
from da.data.shipped import Origin, ShippedData, locate

WORDS = 5000
SHA256 = "4d48f38226cc0353e3c09acf80b1e51e466788d99dad38e448dbd91c6d4af9ac"
ORIGIN = Origin(
    ("text/amazon_reviews_5000.npz", "text/amazon_reviews"),
    "the *.svmlight files of https://github.com/GRAAL-Research/domain_adversarial_neural_network, folder data, and put "
    "them into <root>/text/amazon_reviews",
)

Counts = Literal["log", "binary", "raw"]


@dataclass(frozen=True)
class CountTransform:
    """Counts uint8 [n, d] -> float32 [n, d]: log(1 + x), or 1 where x > 0, or x."""

    counts: Counts

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        if self.counts == "binary":
            return (x > 0).float()
        return x.float().log1p_() if self.counts == "log" else x.float()


@final
class AmazonReviews(ShippedData):
    """Books, dvd, electronics and kitchen; x float32 [n, 5000].

    The data are of Blitzer, Dredze & Pereira (2007), the features of Chen et al. (2012), the split of Ganin et al.
    (2016, sec. 5.1.2): 2,000 reviews of a domain to train on, and 3,586 to 5,945 to score.

    Args:
        counts: what the network gets of a count x: log(1 + x), 1 where x > 0 ("binary"), or x ("raw").
        num_features: a fact for the network's configuration: 5000.
        settings: of `ShippedData`.
    """

    known_names = ("books", "dvd", "electronics", "kitchen")
    known_classes = ("negative", "positive")

    def __init__(self, counts: Counts = "log", num_features: int | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        if num_features not in (None, WORDS):
            raise ValueError(f"data.num_features={num_features}, but the reviews have {WORDS} counts")
        self.train_transform = self.eval_transform = CountTransform(counts)

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "num_features": WORDS}

    def read_records(self, name: str) -> Records:
        where = locate(ORIGIN, self.root)
        read = _read_npz if where.suffix == ".npz" else _read_svmlight
        parts = {split: read(where, name, split) for split in ("train", "test")}
        x, y = (np.concatenate([part[i] for part in parts.values()]) for i in (0, 1))
        rows = [(split, i) for split, (_, own) in parts.items() for i in range(len(own))]
        labels = [self.known_classes[c] for c in y]
        content, digest = content_hashes([x])
        return Records(
            x=torch.from_numpy(x),
            labels=labels,
            keys=[f"{name}/{split}/{i}" for split, i in rows],
            content=content,
            sha256=labelled_sha256(digest, labels),
            split=[split for split, _ in rows],
        )

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        """Read counts [n, 5000] of the same words from an .svmlight file, or from the array x of another one."""
        if Path(where).suffix == ".svmlight":
            x, _ = _svmlight(Path(where).expanduser())
            keys = [str(i) for i in range(len(x))]
        else:
            arrays = read_arrays(where)
            x, keys = _counts(arrays.x.numpy(), where), arrays.keys
        return self.unlabelled(torch.from_numpy(x), len(x)), keys


def _read_npz(file: Path, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    checked_sha256(file, SHA256, otherwise=f", or remove it and get {ORIGIN.fetch}")
    with np.load(file, allow_pickle=False) as arrays:
        counts, columns, first, y = (arrays[f"{name}_{split}_{part}"] for part in ("data", "indices", "indptr", "y"))
    x = np.zeros((len(y), WORDS), dtype=np.uint8)
    x[np.repeat(np.arange(len(y)), np.diff(first)), columns] = counts
    return x, y


def _read_svmlight(folder: Path, name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    file = folder / f"{name}_{split}.svmlight"
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}: get {ORIGIN.fetch}")
    return _svmlight(file)


def _svmlight(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return x uint8 [n, 5000] and y [n]; ValueError for what is no count."""
    from sklearn.datasets import load_svmlight_file  # takes a second that the other file does not need

    try:
        x, y = load_svmlight_file(file, n_features=WORDS, zero_based=True)
    except ValueError as error:
        raise ValueError(f"{file} has no rows of {WORDS} counts: {error}") from error
    return _counts(x.toarray(), file), (y > 0).astype(np.int64)  # -1 is negative


def _counts(x: np.ndarray, where: str | Path) -> np.ndarray:
    """Return x as uint8 [n, 5000]; ValueError if it is something else."""
    if x.shape[1:] != (WORDS,):
        raise ValueError(f"{where}: x is {list(x.shape)}, expected [n, {WORDS}]")
    if not ((x >= 0) & (x <= 255) & (x == np.round(x))).all():
        raise ValueError(f"{where} has values that are no counts from 0 to 255")
    return x.astype(np.uint8)
