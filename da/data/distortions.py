"""Filters and maps that the corruptions of CIFAR-10-C are made of; nothing is random in them."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor


def disk_blur(x: Tensor, radius: float, smoothing: float) -> Tensor:
    """Images [n, 3, h, w] under a disk of up to 2 pixels, itself smoothed by a 3x3 normal kernel; mirrored outside."""
    place = torch.arange(-3, 4.0)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).float()[None, None]
    bell = (-0.5 * (torch.arange(-1, 2.0) / smoothing) ** 2).exp()
    bell = bell / bell.sum()
    kernel = F.conv2d(disk / disk.sum(), (bell[:, None] * bell)[None, None], padding=1).expand(3, 1, 7, 7)
    return F.conv2d(F.pad(x, (3, 3, 3, 3), mode="reflect"), kernel, groups=3)


def normal_blur(x: Tensor, sigma: float) -> Tensor:
    """Images [n, c, h, w] under a normal kernel, cut off at 4 sigma; the edge goes on outside."""
    return torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="nearest"))


def motion_blur(x: Tensor, radius: int, sigma: float, angle: Tensor) -> Tensor:
    """Images [n, c, h, w] under half a bell of 2 * radius + 1 pixels along `angle` [n], as ImageMagick has it.

    Angles are in degrees, clockwise from the right; the edge goes on outside.
    """
    far = torch.arange(2 * radius + 1.0)
    weight = (-0.5 * (far / sigma) ** 2).exp()
    turn = angle[:, None].deg2rad()
    right, down = ((far * part - 0.5).ceil().long() for part in (turn.cos(), turn.sin()))
    rows, columns, each = torch.arange(x.shape[2]), torch.arange(x.shape[3]), torch.arange(len(x))[:, None, None]
    out = torch.zeros_like(x)
    for k, share in enumerate(weight / weight.sum()):
        h = (rows + down[:, k, None]).clamp(0, len(rows) - 1)[:, :, None]
        w = (columns + right[:, k, None]).clamp(0, len(columns) - 1)[:, None, :]
        out += share * x[each, :, h, w].permute(0, 3, 1, 2)
    return out


def zoomed(x: Tensor, zoom: float) -> Tensor:
    """Return the middle of square images [n, c, h, h], enlarged bilinearly, corner on corner."""
    width = x.shape[3]
    kept = int(np.ceil(width / zoom))
    first, size = (width - kept) // 2, round(kept * zoom)
    middle = x[:, :, first : first + kept, first : first + kept]
    large = F.interpolate(middle, size=(size, size), mode="bilinear", align_corners=True)
    cut = (size - width) // 2
    return large[:, :, cut : cut + width, cut : cut + width]


def plasma(u: Tensor, size: int, decay: float) -> Tensor:
    """Return height maps [n, size, size] in [0, 1] by the diamond-square algorithm.

    `u` [n, size * size] holds random numbers in [-1, 1]; `size` is a power of 2.
    """
    used, step, wibble = 0, size, 100.0
    grid = torch.zeros(len(u), size, size)

    def mean(total: Tensor) -> Tensor:
        nonlocal used
        first, used = used, used + total[0].numel()
        return total / 4 + wibble**2 * u[:, first:used].view_as(total)

    while step >= 2:
        half = step // 2
        corners = grid[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        centres = mean(pairs + pairs.roll(-1, 2))
        grid[:, half::step, half::step] = centres
        grid[:, ::step, half::step] = mean(centres + centres.roll(1, 1) + corners + corners.roll(-1, 2))
        grid[:, half::step, ::step] = mean(centres + centres.roll(1, 2) + corners + corners.roll(-1, 1))
        step, wibble = half, wibble / decay
    grid -= grid.amin(dim=(1, 2), keepdim=True)
    return grid / grid.amax(dim=(1, 2), keepdim=True)


def three_point_map(x: Tensor, points: Tensor, moved: Tensor) -> Tensor:
    """Images [n, c, h, w] under the affine map that takes `points` [3, 2] to `moved` [n, 3, 2]; mirrored outside.

    Points are (x, y) in pixels, counted from the middle of the first one.
    """
    n, _, h, w = x.shape
    there = torch.cat([moved, torch.ones(n, 3, 1)], dim=2)
    back = torch.linalg.solve(there, points.expand(n, 3, 2))
    pixels = torch.cat([pixel_places(h, w), torch.ones(h, w, 1)], dim=2)
    place = torch.einsum("hwk,nkl->nhwl", pixels, back)
    place = 2 * place / torch.tensor([w - 1, h - 1]) - 1
    return F.grid_sample(x, place, padding_mode="reflection", align_corners=True)


def displaced(x: Tensor, shift: Tensor) -> Tensor:
    """Return images [n, c, h, w] with every pixel (x, y) read at (x, y) + `shift` [n, h, w, 2]; edges mirrored."""
    h, w = x.shape[2:]
    place = (2 * (pixel_places(h, w) + shift) + 1) / torch.tensor([w, h]) - 1
    return F.grid_sample(x, place, padding_mode="reflection", align_corners=False)


def pixel_places(h: int, w: int) -> Tensor:
    """Return (x, y) of all pixels, float [h, w, 2]."""
    return torch.stack(torch.meshgrid(torch.arange(float(w)), torch.arange(float(h)), indexing="xy"), dim=2)
