"""The corruptions of CIFAR-10-C (Hendrycks & Dietterich 2019), made anew for 32x32 images."""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import poisson
from torch import Tensor

from da.data.distortions import disk_blur, displaced, motion_blur, normal_blur, plasma, three_point_map, zoomed
from da.data.images import RGB_TO_GREY
from da.data.rows import Draw, stable_seed, uniform

VERSION = 1
"""Another one for other images from the same ones: it is in the cache's key."""

SIZE = 32
CHUNK = 500  # images corrupted at a time
SHOWN = 1e-3  # of a grey level: what rounding errors may have taken from a value before its fraction is cut off


class Corruption(NamedTuple):
    """A function of (images float [n, 3, 32, 32] in [0, 1], setting, draw), and its settings at severities 1 to 5."""

    corrupt: Callable[[Tensor, Any, Draw], Tensor]
    settings: Sequence[Any]


def corrupt(x: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """Return images uint8 [n, 3, 32, 32] under the corruption of this name at severity 1 to 5, uint8 of that shape.

    Settings and formulas are those of `make_cifar_c.py` in the authors' repository; values are cut off, not rounded, to
    grey levels, as theirs. What is random about a row depends on (seed, name, severity, row) only. Other than theirs:
    the random numbers, and with them every image of a random corruption; and there is no `frost`, which pastes photos.

    Raises ValueError for a name or severity that there is not, and for images of another size.
    """
    require(name, severity)
    if x.shape[1:] != (3, SIZE, SIZE) or x.dtype != torch.uint8:
        raise ValueError(f"corruptions are of uint8 images [n, 3, {SIZE}, {SIZE}], got {x.dtype} {list(x.shape)}")
    function, settings = CORRUPTIONS[name]
    drawn = stable_seed(seed, "corruption", name, severity)
    chunks = [
        function(x[rows].float() / 255, settings[severity - 1], Draw(rows, drawn))
        for rows in torch.arange(len(x)).split(CHUNK)
    ]
    return torch.cat([(chunk.clamp(0, 1) * 255 + SHOWN).to(torch.uint8) for chunk in chunks])


def require(name: str, severity: int) -> None:
    """Raise ValueError unless there is such a corruption."""
    if name not in CORRUPTIONS:
        why = "; frost is not among them, since it pastes photos" if name == "frost" else ""
        raise ValueError(f"there is no corruption {name!r}, but {', '.join(CORRUPTIONS)}{why}")
    if severity not in range(1, 6):
        raise ValueError(f"the severity of a corruption is 1 to 5, not {severity}")


def _uniform(draw: Draw, shape: Sequence[int], what: str = "") -> Tensor:
    """Random numbers in [0, 1), [n, *shape], others for another `what`."""
    own = Draw(draw.rows, stable_seed(draw.seed, what))
    return uniform(own, int(np.prod(shape))).view(-1, *shape)


def _normal(draw: Draw, shape: Sequence[int]) -> Tensor:
    return torch.special.ndtri(_uniform(draw, shape).double() + 2.0**-25).float()  # never 0


def _gaussian_noise(x: Tensor, std: float, draw: Draw) -> Tensor:
    return x + std * _normal(draw, x.shape[1:])


def _shot_noise(x: Tensor, photons: int, draw: Draw) -> Tensor:
    """Poisson numbers of mean x * photons, over photons: by the inverse of the distribution function of each level."""
    levels = np.arange(256)[:, None]
    count = np.arange(int(poisson.isf(2.0**-26, photons)) + 2)
    table = torch.from_numpy(np.minimum(poisson.cdf(count, levels / 255 * photons), 1.0) + levels)
    level = (x * 255).round().double()
    place = torch.searchsorted(table.flatten(), level + _uniform(draw, x.shape[1:]), right=True)
    return (place - level.long() * len(count)).float() / photons


def _impulse_noise(x: Tensor, amount: float, draw: Draw) -> Tensor:
    u = _uniform(draw, x.shape[1:])
    return torch.where(u < amount / 2, 0.0, torch.where(u >= 1 - amount / 2, 1.0, x))


def _defocus_blur(x: Tensor, setting: tuple[float, float], draw: Draw) -> Tensor:
    return disk_blur(x, *setting)


def _glass_blur(x: Tensor, setting: tuple[float, int], draw: Draw) -> Tensor:
    """From the last pixel to the third, each becomes its neighbour above, on the left, or both, or stays."""
    sigma, passes = setting
    x = ((normal_blur(x, sigma) * 255 + SHOWN).floor() / 255).clone()
    step = -(_uniform(draw, (passes, SIZE, SIZE, 2)) * 2).long()
    each = torch.arange(len(x))
    for turn in range(passes):
        for h in range(SIZE - 1, 1, -1):
            for w in range(SIZE - 1, 1, -1):
                dx, dy = step[:, turn, h, w].unbind(1)
                x[:, :, h, w] = x[each, :, h + dy, w + dx]  # meant as a swap by them, but NumPy's views make it this
    return normal_blur(x, sigma)


def _motion_blur(x: Tensor, setting: tuple[int, float], draw: Draw) -> Tensor:
    return motion_blur(x, *setting, angle=90 * _uniform(draw, ()) - 45)


def _zoom_blur(x: Tensor, most: float, draw: Draw) -> Tensor:
    zooms = np.arange(1, most, 0.01)
    return (x + torch.stack([zoomed(x, zoom) for zoom in zooms]).sum(dim=0)) / (len(zooms) + 1)


def _snow(x: Tensor, setting: tuple[float, ...], draw: Draw) -> Tensor:
    mean, std, zoom, threshold, radius, sigma, kept = setting
    flakes = zoomed(mean + std * _normal(draw, (1, SIZE, SIZE)), zoom)
    flakes = torch.where(flakes < threshold, 0.0, flakes.clamp(0, 1))
    flakes = motion_blur(flakes, int(radius), sigma, angle=90 * _uniform(draw, (), "angle") - 135)
    grey = torch.einsum("nchw,c->nhw", x, x.new_tensor(RGB_TO_GREY))[:, None]
    return kept * x + (1 - kept) * x.maximum(1.5 * grey + 0.5) + flakes + flakes.flip(2, 3)


def _fog(x: Tensor, setting: tuple[float, float], draw: Draw) -> Tensor:
    amount, decay = setting
    brightest = x.amax(dim=(1, 2, 3), keepdim=True)
    heights = plasma(2 * _uniform(draw, (SIZE * SIZE,)) - 1, SIZE, decay)
    return (x + amount * heights[:, None]) * brightest / (brightest + amount)


def _brightness(x: Tensor, more: float, draw: Draw) -> Tensor:
    """Value + more, in terms of hue, saturation and value: all channels grow alike, and black becomes grey."""
    value = x.amax(dim=1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, x * raised / value.clamp(min=1e-6), raised)


def _contrast(x: Tensor, share: float, draw: Draw) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    return mean + share * (x - mean)


def _elastic_transform(x: Tensor, setting: tuple[float, float, float], draw: Draw) -> Tensor:
    """Three points move by up to `corner` and the image with them, then smooth displacements; in image widths."""
    height, sigma, corner = (SIZE * part for part in setting)
    points = torch.tensor([[26.0, 26], [26, 6], [6, 6]])
    x = three_point_map(x, points, points + corner * (2 * _uniform(draw, (3, 2), "corners") - 1))
    shift = 2 * _uniform(draw, (SIZE, SIZE, 2), "shift").numpy() - 1
    smooth = gaussian_filter(shift, (0, sigma, sigma, 0), mode="reflect", truncate=3)
    return displaced(x, height * torch.from_numpy(smooth))


def _pixelate(x: Tensor, share: float, draw: Draw) -> Tensor:
    def shrink(image: Image.Image) -> Image.Image:
        small = image.resize((int(SIZE * share),) * 2, Image.Resampling.BOX)
        return small.resize((SIZE, SIZE), Image.Resampling.BOX)

    return _by_pillow(x, shrink)


def _jpeg_compression(x: Tensor, quality: int, draw: Draw) -> Tensor:
    def compress(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return _by_pillow(x, compress)


def _by_pillow(x: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in pixels])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).float() / 255


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption(_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": Corruption(_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": Corruption(_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": Corruption(_defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": Corruption(_glass_blur, ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))),
    "motion_blur": Corruption(_motion_blur, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))),
    "zoom_blur": Corruption(_zoom_blur, (1.06, 1.11, 1.16, 1.21, 1.26)),
    "snow": Corruption(
        _snow,
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "fog": Corruption(_fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": Corruption(_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": Corruption(_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": Corruption(
        _elastic_transform, ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    ),
    "pixelate": Corruption(_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": Corruption(_jpeg_compression, (80, 65, 58, 50, 40)),
}
"""By name; the published constants for CIFAR."""
