"""Batch transforms of uint8 images."""

from dataclasses import dataclass
from math import radians

import torch
import torch.nn.functional as F
from torch import Tensor

from da.data.rows import Draw, Transform, uniform

RGB_TO_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's convert("L")
CHUNK = 2048  # images warped at a time: a few MB, which stays in the cache


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
    of another size are resized, which is slow: better `resize` them once. Raises ValueError if `channels` is
    neither 1 nor 3.
    """

    channels: int
    size: int
    mean: float = 0.5
    std: float = 0.5

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {self.channels}")

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        y = resize(x, self.size).float()
        if y.ndim == 3:
            y = y[:, None]
        elif self.channels == 1:
            y = torch.einsum("nchw,c->nhw", y, y.new_tensor(RGB_TO_GREY))[:, None]
        y = y.div_(255).sub_(self.mean).div_(self.std)
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
