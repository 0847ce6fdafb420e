"""MNIST-M, made of MNIST and photos as its authors made it."""

import hashlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from da.data.cache import cached_tensor
from da.data.files import Files
from da.data.rows import Draw, stable_seed, uniform

PLACES = ("BSR/BSDS500/data/images", "BSDS500/data/images", "BSR_bsds500.zip")
"""Where the photos may be, below the folder of the digits: its folder as it is unpacked, or an archive of it."""

FETCH_PHOTOS = (
    "Fetch BSR_bsds500.tgz from https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html "
    "(Arbelaez et al. 2011) and unpack it, so that BSR/BSDS500/data/images lies in"
)


def find_photos(folder: Path) -> Files | None:
    """Return the photos of BSDS500 below `folder`, None if they are not there."""
    where = next((folder / place for place in PLACES if (folder / place).exists()), None)
    photos = Files(where) if where else None
    return photos if photos and _names(photos) else None


def blend(x: Tensor, photos: Files, part: str) -> Tensor:
    """Return |patch - digit| for digits `x` uint8 [n, h, w] and random patches of photos, uint8 [n, 3, h, w].

    Ganin & Lempitsky 2015, sec. 4: the images of MNIST-M, but for the draw of the patches, which their file does not
    tell. Here photo and place are a function of (part, row); photos are numbered in the order of their names. Kept in
    the cache. Raises ValueError for a photo that is smaller than a digit.
    """
    names = _names(photos)
    key = repr((part, hashlib.sha256(x.numpy().tobytes()).hexdigest(), photos.sha256(names)))
    shape = (len(x), 3, *x.shape[1:])
    return cached_tensor("mnistm", key, shape, torch.uint8, lambda out: _fill(out, x, photos, names, part))


def _names(photos: Files) -> list[str]:
    return [name for name in photos.names if name.lower().endswith(".jpg")]


def _fill(out: Tensor, x: Tensor, photos: Files, names: list[str], part: str) -> None:
    h, w = x.shape[1:]
    u = uniform(Draw(torch.arange(len(x)), stable_seed("mnistm", part)), 3).double()
    which = (u[:, 0] * len(names)).long()
    for number, name in enumerate(names):
        photo = np.asarray(Image.open(BytesIO(photos.read(name))).convert("RGB"), dtype=np.int16)
        free = torch.tensor([photo.shape[0] - h + 1, photo.shape[1] - w + 1])
        if free.min() < 1:
            size = f"{photo.shape[1]} x {photo.shape[0]}"
            raise ValueError(f"{photos.where}/{name} has {size} pixels, and a digit has {w} x {h}")
        rows = (which == number).nonzero().flatten()
        top, left = (u[rows, 1:] * free).long().numpy().T
        patches = photo[top[:, None, None] + np.arange(h)[:, None], left[:, None, None] + np.arange(w)]  # [k, h, w, 3]
        made = np.abs(patches.transpose(0, 3, 1, 2) - x[rows].numpy()[:, None].astype(np.int16))
        out[rows] = torch.from_numpy(made.astype(np.uint8))
