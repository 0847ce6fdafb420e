"""Rows prepared for one network, turned into what another one reads: images, and standardised numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

RGB_TO_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as the images' own transform
NOT_GIVEN = 0.5  # mean and std of images whose network names none: pixels from -1 to 1

Numbers = float | Sequence[float]


@dataclass(frozen=True)
class ImageFormat:
    """Images [n, channels, size, size] with values (pixel / 255 - mean) / std, by channel or the same for all."""

    channels: int
    size: int
    mean: Numbers = NOT_GIVEN
    std: Numbers = NOT_GIVEN

    def statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and std as [channels, 1, 1]."""
        one, many = (like.new_tensor(value).view(-1, 1, 1) for value in (self.mean, self.std))
        return one.expand(self.channels, 1, 1), many.expand(self.channels, 1, 1)


@dataclass(frozen=True)
class ConvertImages:
    """Images of one format in another: normalisation undone, resized, grey or RGB, normalised again.

    RGB becomes grey by BT.601's weights; grey is repeated in three channels, which brings no colour back. Resizing is
    bilinear and antialiased, without rounding to whole bytes.
    """

    given: ImageFormat
    wanted: ImageFormat

    def __call__(self, x: Tensor) -> Tensor:
        mean, std = self.given.statistics(x)
        pixels = x * std + mean
        if self.wanted.channels == 1 and self.given.channels == 3:
            pixels = torch.einsum("nchw,c->nhw", pixels, pixels.new_tensor(RGB_TO_GREY))[:, None]
        if self.wanted.size != self.given.size:
            side = (self.wanted.size, self.wanted.size)
            pixels = F.interpolate(pixels, size=side, mode="bilinear", antialias=True)
        mean, std = self.wanted.statistics(x)
        return (pixels - mean) / std


@dataclass(frozen=True)
class ConvertScale:
    """Numbers (x - mean) / std of one standardisation in another, by feature [n, d] or channel [n, c, t].

    Of a mapping it is what is named "numeric". Each statistic has a number for each feature, or one for all.
    """

    given: tuple[Sequence[float], Sequence[float]]  # mean and std
    wanted: tuple[Sequence[float], Sequence[float]]

    def __call__(self, x: Any) -> Any:
        if isinstance(x, Mapping):
            return {**x, "numeric": self(x["numeric"])}
        (mean, std), (mean_w, std_w) = (
            [torch.tensor(numbers, dtype=torch.float64).view(-1, *[1] * (x.ndim - 2)) for numbers in side]
            for side in (self.given, self.wanted)
        )
        # In float64: the means may be large beside their difference.
        ratio, offset = (std / std_w).to(x), ((mean - mean_w) / std_w).to(x)
        return x * ratio + offset


def convert_images(given: ImageFormat, wanted: ImageFormat) -> ConvertImages | None:
    """Return what turns images of one format into the other; None where they are the same.

    Raises ValueError for channels other than 1 and 3 that differ.
    """
    if given == wanted:
        return None
    if given.channels != wanted.channels and {given.channels, wanted.channels} != {1, 3}:
        raise ValueError(f"images of {given.channels} channels can't become images of {wanted.channels}")
    return ConvertImages(given, wanted)


def convert_input(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> ConvertImages | None:
    """Return what turns rows for a network with the facts `given` (`Network.input`) into rows for one with `wanted`.

    None where the facts are equal. Raises ValueError where they differ and are not both those of images.
    """
    if dict(given) == dict(wanted):
        return None
    if not all({"channels", "size"} <= set(facts) for facts in (given, wanted)):
        raise ValueError(f"rows for net.input={dict(given)} can't be turned into rows for net.input={dict(wanted)}")
    return convert_images(*(image_format(facts) for facts in (given, wanted)))


def image_format(facts: Mapping[str, Any]) -> ImageFormat:
    """Return the format that these facts (channels, size, and perhaps mean and std) describe."""
    mean, std = (
        tuple(map(float, value)) if isinstance(value, Sequence) else float(value)
        for value in (facts.get(name, NOT_GIVEN) for name in ("mean", "std"))
    )
    return ImageFormat(facts["channels"], facts["size"], mean, std)
