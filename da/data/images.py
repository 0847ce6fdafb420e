"""Batch transforms of uint8 images."""

from dataclasses import dataclass
from math import log, radians

import torch
import torch.nn.functional as F
from torch import Tensor

from da.data.rows import Draw, Transform, stable_seed, uniform

RGB_TO_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")
CHUNK = 2048  # images warped at a time: a few MB, which stays in the cache
TRIES = 10  # at a random part that lies within the image: torchvision's


def resize(x: Tensor, size: int) -> Tensor:
    """Images `x` uint8 [n, h, w] or [n, c, h, w], bilinearly resized to uint8 [..., size, size], antialiased.

    Meant for a whole data set, once, when it is read. The same tensor where the size is right already.
    """
    if x.shape[-2:] == (size, size):
        return x
    planes = x if x.ndim == 4 else x[:, None]
    resized = torch.empty(*planes.shape[:2], size, size, dtype=torch.uint8)
    for done, chunk in zip(resized.split(CHUNK), planes.split(CHUNK), strict=True):
        large = F.interpolate(chunk.float(), size=(size, size), mode="bilinear", antialias=True)
        done.copy_(large.round_().clamp_(0, 255))
    return resized.view(*x.shape[:-2], size, size)


@dataclass(frozen=True)
class ToNetwork:
    """Images uint8 [n, h, w] or [n, 3, h, w] -> (x / 255 - mean) / std, float32 [n, channels, size, size].

    Grey is repeated in all channels, RGB becomes grey (BT.601) where the network takes one channel. Images
    of another size are resized, which is slow: better `resize` them once. `mean` and `std` are those of all
    channels, or a tuple with one for each. Raises ValueError if `channels` is neither 1 nor 3, or for a tuple of
    another length.
    """

    channels: int
    size: int
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {self.channels}")
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and len(value) != self.channels:
                raise ValueError(f"{name} has {len(value)} values, but the images have channels={self.channels}")

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        y = resize(x, self.size).float()
        if y.ndim == 3:
            y = y[:, None]
        elif self.channels == 1:
            y = torch.einsum("nchw,c->nhw", y, y.new_tensor(RGB_TO_GREY))[:, None]
        if isinstance(self.mean, tuple) or isinstance(self.std, tuple):
            y = y if y.shape[1] == self.channels else y.repeat(1, self.channels, 1, 1)
        mean, std = (y.new_tensor(v).view(-1, 1, 1) if isinstance(v, tuple) else v for v in (self.mean, self.std))
        y = y.div_(255).sub_(mean).div_(std)
        return y if y.shape[1] == self.channels else y.repeat(1, self.channels, 1, 1)


@dataclass(frozen=True)
class Affine:
    """Rotate every image by up to +-`degrees` and move it by up to +-`shift` pixels, with black where nothing was.

    uint8 [n, h, w] or [n, c, h, w] to the same. What happens to a row depends on (draw.seed, row) only.
    """

    degrees: float
    shift: float

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        u = 2 * uniform(draw, 3) - 1
        pixel = 2 / torch.tensor([x.shape[-1], x.shape[-2]])
        moved = warp(
            x.float() if x.ndim == 4 else x[:, None].float(),
            u[:, 0] * radians(self.degrees),
            u[:, 1:] * self.shift * pixel,
        )
        return moved.round_().to(torch.uint8).view_as(x)


@dataclass(frozen=True)
class CentreCrop:
    """The middle `size` x `size` of images uint8 [n, c, side, side]."""

    side: int
    size: int

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        assert x.shape[-2:] == (self.side, self.side), x.shape
        start = round((self.side - self.size) / 2)  # as torchvision's
        return x[..., start : start + self.size, start : start + self.size]


@dataclass(frozen=True)
class RandomCrop:
    """A random `size` x `size` part of every image uint8 [n, c, side, side], as it is; a function of (seed, row)."""

    side: int
    size: int

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        assert x.shape[-2:] == (self.side, self.side), x.shape
        start = (uniform(draw, 2) * (self.side - self.size + 1)).long().tolist()
        out = x.new_empty(*x.shape[:2], self.size, self.size)
        for image, done, (top, left) in zip(x, out, start, strict=True):
            done.copy_(image[:, top : top + self.size, left : left + self.size])
        return out


@dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of every image uint8 [n, c, side, side], resized to `size` x `size`, bilinear and antialiased.

    Area (as a fraction of the image's) and the logarithm of width / height are uniform over their ranges, drawn again
    up to ten times until the part lies within the image, as torchvision draws them (Szegedy et al. 2015, sec. 6); then
    it is the whole image. What happens to a row depends on (draw.seed, row) only.
    """

    side: int
    size: int
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        assert x.shape[-2:] == (self.side, self.side), x.shape
        out = x.new_empty(*x.shape[:2], self.size, self.size)
        for image, done, (top, left, h, w) in zip(x, out, self.boxes(draw).tolist(), strict=True):
            # One at a time: PyTorch's antialiased resize of uint8 beats a grid_sample of the batch by a factor of ten.
            part = image[None, :, top : top + h, left : left + w]
            done.copy_(F.interpolate(part, size=(self.size, self.size), mode="bilinear", antialias=True)[0])
        return out

    def boxes(self, draw: Draw) -> Tensor:
        """Return the part of each row that is taken: (top, left, height, width) in pixels, int64 [n, 4]."""
        u = uniform(draw, 2 * TRIES + 2)
        area = self.side**2 * (self.area[0] + (self.area[1] - self.area[0]) * u[:, :TRIES])
        low, high = log(self.ratio[0]), log(self.ratio[1])
        ratio = (low + (high - low) * u[:, TRIES : 2 * TRIES]).exp()
        w, h = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
        fits = (w >= 1) & (w <= self.side) & (h >= 1) & (h <= self.side)
        first = fits.int().argmax(dim=1, keepdim=True)
        sizes = torch.cat([h.gather(1, first), w.gather(1, first)], dim=1)
        sizes[~fits.any(dim=1)] = self.side
        start = (u[:, 2 * TRIES :] * (self.side - sizes + 1)).long()
        return torch.cat([start, sizes], dim=1)


@dataclass(frozen=True)
class Flip:
    """Every second image [n, ..., w], on average, mirrored left to right; which, is a function of (draw.seed, row)."""

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        mirrored = uniform(Draw(draw.rows, stable_seed(draw.seed, "flip")), 1)[:, 0] < 0.5
        out = x.clone(memory_format=torch.contiguous_format)
        for i in mirrored.nonzero()[:, 0].tolist():
            out[i].copy_(x[i].flip(-1))
        return out


@dataclass(frozen=True)
class Chain:
    """One transform after the other."""

    transforms: tuple[Transform, ...]

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        for transform in self.transforms:
            x = transform(x, draw)
        return x


def warp(x: Tensor, angle: Tensor, shift: Tensor, scale: Tensor | None = None, shear: Tensor | None = None) -> Tensor:
    """Images `x` float [n, c, h, w], each rotated by `angle` [n], bilinear, black outside.

    Angles are in radians; `shift` [n, 2] is (x, y) in halves of the image's width and height; `scale` [n, 2]
    enlarges (x, y) and `shear` [n] slants, both before the rotation.
    """
    n, _, h, w = x.shape
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, sin * h / w, -sin * w / h, cos], dim=1).view(n, 2, 2)  # from output to input
    inverse = torch.eye(2).repeat(n, 1, 1)
    if shear is not None:
        inverse[:, 0, 1] = shear
    if scale is not None:
        inverse = inverse / scale[:, :, None]
    matrix = inverse @ rotation
    theta = torch.cat([matrix, -matrix @ shift[:, :, None]], dim=2)
    parts = [
        F.grid_sample(part, F.affine_grid(t, list(part.shape), align_corners=False), align_corners=False)
        for part, t in zip(x.split(CHUNK), theta.split(CHUNK), strict=True)
    ]
    return torch.cat(parts)
