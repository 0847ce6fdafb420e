"""Office-Caltech10 as histograms of 800 visual words, the SURF features of Gong et al. (2012)."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from da.data.download import checked_sha256, sha256
from da.data.records import Records, content_hashes
from da.data.shipped import Origin, ShippedData, locate

PUBLISHED: Mapping[str, str] = {"amazon": "amazon", "caltech10": "Caltech10", "dslr": "dslr", "webcam": "webcam"}
"""The domains, and what the published files call them."""

WORDS = 800
FILE = "features/office_caltech10_surf.npz"
SHA256 = "85efd76d011a2720710bfded2ad36580e17c474ff76d24feaa90103ffeab60ad"
FETCH = (
    "ToRelease_GFK.zip of Gong et al. 2012 (a copy: github.com/viggin/domain-adaptation-toolbox, ToRelease_GFK/data) "
    "and put its *_SURF_L10.mat into the folder features below the root"
)


@final
class OfficeCaltechSurf(ShippedData):
    """Two or more of amazon, caltech10, dslr and webcam, x float32 [n, 800].

    The protocol of Gong et al. (2012) and Long et al. (2013): every row is divided by its sum, then every column is
    standardised within its domain, labels unseen; all source rows train, all target rows are adapted to and scored.

    The file is `<root>/features/office_caltech10_surf.npz`, checked against its sha256, with {domain}_x and {domain}_y;
    or `{amazon,Caltech10,dslr,webcam}_SURF_L10.mat` beside it, as published.

    Args:
        num_features: a fact for the network's configuration; must be 800.
        settings: of `ShippedData`.

    Raises ValueError for a file that is not what it should be, and as `ShippedData` does.
    """

    known_names = tuple(PUBLISHED)
    known_classes = (
        *("backpack", "bike", "calculator", "headphones", "keyboard"),
        *("laptop", "monitor", "mouse", "mug", "projector"),
    )

    def __init__(self, num_features: int = WORDS, **settings: Any) -> None:
        super().__init__(**settings)
        if num_features != WORDS:
            raise ValueError(f"data.num_features={num_features}, but there are {WORDS} visual words")

    def read_records(self, name: str) -> Records:
        counts, y, digest = _read(name, self.root)
        content, _ = content_hashes([counts])
        labels = [self.known_classes[c] for c in y]
        return Records(standardised(counts), labels, [str(i) for i in range(len(y))], content, digest)


def standardised(counts: np.ndarray) -> Tensor:
    """Return histograms [n, d] divided by their sums, then columns of mean 0 and standard deviation 1, float32.

    A column that is the same in all rows becomes 0.
    """
    x = counts / counts.sum(axis=1, keepdims=True, dtype=np.float64)
    deviation = x.std(axis=0)
    return torch.from_numpy((x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)).float()


def _read(name: str, root: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Read counts [n, 800], class indices and the sha256 of the file."""
    file = locate(Origin((FILE, f"features/{PUBLISHED[name]}_SURF_L10.mat"), FETCH), root)
    if file.suffix == ".mat":
        content = loadmat(file, variable_names=["fts", "labels"])
        return np.asarray(content["fts"]), content["labels"].reshape(-1).astype(np.int64) - 1, sha256(file)
    digest = checked_sha256(file, SHA256)
    with np.load(file, allow_pickle=False) as arrays:
        return arrays[f"{name}_x"], arrays[f"{name}_y"], digest
