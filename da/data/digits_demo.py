"""Digits without a download: printed ones from matplotlib's fonts, handwritten ones from scikit-learn."""

import hashlib
from math import radians
from pathlib import Path
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_digits
from torch import Tensor

from da.data.base import Domain
from da.data.image_inputs import ImageInputs
from da.data.images import ToNetwork, warp
from da.data.rows import TensorRows, hold_out
from da.types import Role

FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{family}10.ttf" for family in ("r", "b", "ti", "ss", "tt")),
)
"""The text fonts that ship with matplotlib; its other ttf files hold symbols, not digits."""

SOURCE_SEED = 20240229  # of the rendered images: the data set is the same whatever the run's seed
CLASSES = 10
HEIGHT = 20 / 28  # of a digit, as a fraction of its image: MNIST's
OVERSAMPLING = 2  # printed digits are drawn and moved at twice the size: smooth edges
CHUNK = 1024


class DigitsDemo(ImageInputs):
    """Printed digits ("fonts", source) and scikit-learn's 1,797 handwritten ones ("handwritten", target).

    White on black, centred by their bounding box, about 20/28 of the image high. The source is rendered in
    a second, the same in every run: random font, width, height, slant, rotation, place, stroke and blur.
    `source_rows` images to train on, a tenth of them (`hold_out`) for validation, and 1,000 more to test.
    The target is transductive, for it is small: all 1,797 rows train, unlabelled, and all are scored. The
    8x8 images (Alpaydin & Kaynak 1998) are enlarged bicubically.

    Args:
        size: height and width of the images.
        channels: of the images the network gets, 1 or 3.
        source_rows: rendered images for training and validation.
        settings: of `DomainData`.
    """

    def __init__(self, size: int = 28, channels: int = 1, source_rows: int = 6000, **settings: Any) -> None:
        super().__init__(**settings)
        self.size, self.source_rows = size, source_rows
        self.transform = ToNetwork(channels, size)
        self._hashes: dict[str, str] = {}

    def names(self) -> dict[Role, str]:
        return {"source": "fonts", "target": "handwritten"}

    def hashes(self) -> dict[str, str]:
        return dict(self._hashes)

    def read(self, role: Role) -> Domain:
        name = self.names()[role]
        x, y = printed(self.source_rows + 1000, self.size) if role == "source" else handwritten(self.size)
        self._hashes[name] = hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest()
        if role == "target":
            rows = TensorRows(x, y, 1, self.transform)
            return Domain(name, rows, rows, rows)
        n = self.source_rows
        train, val = hold_out(TensorRows(x[:n], y[:n], 0, self.transform), 0.1)
        return Domain(name, train, val, TensorRows(x[n:], y[n:], 0, self.transform))


def handwritten(size: int) -> tuple[Tensor, Tensor]:
    """All digits of scikit-learn, enlarged and centred: uint8 [1797, size, size] and labels."""
    bunch = load_digits()
    small = torch.from_numpy(bunch.images).float()[:, None] / 16
    height = round(HEIGHT * size)
    before = (size - height) // 2
    large = F.interpolate(small, size=(height, height), mode="bicubic", align_corners=False).clamp(0, 1)
    large = F.pad(large, (before, size - height - before) * 2)
    angle = torch.zeros(len(large))
    return (255 * warp(large, angle, -_off_centre(large))).round()[:, 0].byte(), torch.from_numpy(bunch.target)


def printed(num_rows: int, size: int) -> tuple[Tensor, Tensor]:
    """Randomly rendered digits: uint8 [num_rows, size, size] and labels."""
    generator = torch.Generator().manual_seed(SOURCE_SEED)
    glyphs = _glyphs(OVERSAMPLING * size)
    y = torch.randint(CLASSES, (num_rows,), generator=generator)
    font = torch.randint(len(FONTS), (num_rows,), generator=generator)
    u = 2 * torch.rand(num_rows, 8, generator=generator) - 1
    x = torch.empty(num_rows, size, size, dtype=torch.uint8)
    for rows in torch.arange(num_rows).split(CHUNK):
        v = u[rows]
        image = glyphs[font[rows], y[rows]][:, None]
        image = image.lerp(F.max_pool2d(image, 3, 1, 1), (v[:, 0] / 2 + 0.5)[:, None, None, None])
        image = warp(
            image,
            angle=v[:, 1] * radians(15),
            shift=v[:, 2:4] / 14,  # one pixel of 28
            scale=torch.tensor([1.0, 0.9]) + v[:, 4:6] * torch.tensor([0.2, 0.15]),  # rotation and stroke add height
            shear=v[:, 6] * 0.3,
        )
        image = F.avg_pool2d(image, OVERSAMPLING)
        image = image.lerp(F.avg_pool2d(image, 3, 1, 1), (v[:, 7] / 2 + 0.5)[:, None, None, None])
        x[rows] = (255 * image[:, 0]).round().byte()
    return x, y


def _glyphs(size: int) -> Tensor:
    """Every digit of every font, centred by its bounding box and equally high: [fonts, 10, size, size] in [0, 1]."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    height = round(HEIGHT * size)
    glyphs = torch.zeros(len(FONTS), CLASSES, size, size)
    for f, file in enumerate(FONTS):
        font = ImageFont.truetype(str(folder / file), 4 * size)
        for digit in range(CLASSES):
            canvas = Image.new("L", (8 * size, 8 * size))
            ImageDraw.Draw(canvas).text((2 * size, 2 * size), str(digit), fill=255, font=font)
            crop = canvas.crop(canvas.getbbox())
            width = max(1, round(crop.width * height / crop.height))
            crop = crop.resize((width, height), Image.Resampling.BOX)
            pixels = torch.frombuffer(bytearray(crop.tobytes()), dtype=torch.uint8).view(height, width)
            top, left = (size - height) // 2, (size - width) // 2
            glyphs[f, digit, top : top + height, left : left + width] = pixels / 255
    return glyphs


def _off_centre(x: Tensor) -> Tensor:
    """Centre of the bounding box of what is brighter than a quarter, (x, y) in halves of the image, [n, 2]."""
    ends = []
    for axis in (2, 3):  # the maxima over rows tell columns, and the other way round
        inside = (x.amax(dim=axis)[:, 0] > 0.25).float()
        first, last = inside.argmax(dim=1), inside.shape[1] - 1 - inside.flip(1).argmax(dim=1)
        ends.append((first + last + 1) / inside.shape[1] - 1)
    return torch.stack(ends, dim=1)
