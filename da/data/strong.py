"""Strongly augmented views of rows, for consistency between two views of one row."""

from math import pi, radians

import torch
from torch import Tensor

from da.data.images import warp
from da.data.rows import Draw, Rows, stable_seed, uniform
from da.data.streams import some_rows
from da.types import Samples

DEGREES, SHIFT, SCALE, SHEAR = 30.0, 0.2, 0.3, 0.3  # of an image: shift in halves of its width, scale 0.7 to 1.3
CONTRAST, BRIGHTNESS, HOLE = 0.5, 0.2, 0.3  # the hole's side, as a fraction of the image's
NOISE, DROPPED = 0.3, 0.1  # of a vector: noise in standard deviations of the feature, fraction of features set to 0
MEASURED = 1000
"""Rows at most that the standard deviations are those of."""


class StrongView(Rows):
    """The same rows under a strong augmentation of x, a function of (draw.seed, row) only.

    Images, float [n, c, h, w]: rotated, moved, scaled and slanted, other contrast and brightness, and a square cut
    out, in the spirit of FixMatch's RandAugment and Cutout (Sohn et al. 2020, sec. 2.3). Anything else that is one
    float tensor [n, ...]: normal noise, and features dropped. TypeError for other inputs.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows, self.y, self.domains = rows, rows.y, rows.domains
        self._spread: Tensor | None = None

    def __getitem__(self, draw: Draw) -> Samples:
        samples = self.rows[draw]
        x = samples.x
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"a strong view needs rows of floating-point numbers, got {type(x).__name__}")
        own = Draw(draw.rows, stable_seed(draw.seed, "strong"))
        return samples._replace(x=strong_image(x, own) if x.ndim == 4 else strong_vector(x, own, self.spread()))

    def spread(self) -> Tensor:
        """Standard deviation of each feature [...], of some rows of the set: a batch is dealt over processes."""
        if self._spread is None:
            drawn = Draw(some_rows(len(self.rows), MEASURED, "strong"), 0)
            self._spread = self.rows[drawn].x.std(dim=0, unbiased=False)
        return self._spread


def strong_image(x: Tensor, draw: Draw) -> Tensor:
    """Images `x` [n, c, h, w], augmented; what lies outside becomes the image's own darkest value."""
    n, _, h, w = x.shape
    u = 2 * uniform(draw, 10) - 1
    dark = x.amin(dim=(1, 2, 3), keepdim=True)
    moved = warp(
        x - dark, u[:, 0] * radians(DEGREES), u[:, 1:3] * SHIFT, scale=1 + u[:, 3:5] * SCALE, shear=u[:, 5] * SHEAR
    )
    centre = moved.mean(dim=(1, 2, 3), keepdim=True)
    spread = moved.amax(dim=(1, 2, 3), keepdim=True)
    factor, offset = (1 + u[:, 6] * CONTRAST).view(n, 1, 1, 1), (u[:, 7] * BRIGHTNESS).view(n, 1, 1, 1)
    jittered = centre + factor * (moved - centre) + offset * spread
    rows, columns = torch.linspace(-1, 1, h).view(1, h, 1), torch.linspace(-1, 1, w).view(1, 1, w)
    hole = ((rows - u[:, 8].view(n, 1, 1)).abs() < HOLE) & ((columns - u[:, 9].view(n, 1, 1)).abs() < HOLE)
    return torch.where(hole[:, None], dark, jittered + dark)


def strong_vector(x: Tensor, draw: Draw, spread: Tensor) -> Tensor:
    """Vectors or series `x` [n, ...] with noise added, in units of `spread` [...], and features dropped."""
    size = x[0].numel()
    u = uniform(draw, 3 * size).view(len(x), 3, size).to(x.dtype)
    normal = torch.sqrt(-2 * torch.log1p(-u[:, 0])) * torch.cos(2 * pi * u[:, 1])  # Box & Muller 1958
    noisy = x.flatten(1) + NOISE * spread.flatten() * normal
    return torch.where(u[:, 2] < DROPPED, torch.zeros_like(noisy), noisy).view_as(x)
