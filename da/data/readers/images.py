"""Image files, decoded once into bytes on disk."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from typing import Literal, get_args

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps
from torch import Tensor

from da.data.cache import cached_tensor
from da.data.files import Files
from da.data.images import CentreCrop, Chain, Flip, RandomCrop, RandomResizedCrop, ToNetwork
from da.data.readers.base import Read, Reader
from da.data.rows import Transform

Augment = Literal["crop_flip", "shift_flip", "flip", "none"]
"""What training sees of an image: a random part of random size and shape, as CDAN and TLL ("crop_flip"), or of the
network's size, as SHOT ("shift_flip"), mirrored every second time; its middle, mirrored ("flip") or not ("none")."""

AUGMENTS: Mapping[Augment, Callable[[int, int], tuple[Transform, ...]]] = {
    "crop_flip": lambda side, size: (RandomResizedCrop(side, size), Flip()),
    "shift_flip": lambda side, size: (RandomCrop(side, size), Flip()),
    "flip": lambda side, size: (CentreCrop(side, size), Flip()),
    "none": lambda side, size: (CentreCrop(side, size),),
}
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SHIPPED_RESIZE = 256 / 224  # side of the stored images over that of the network's, in the field's protocol
MANY = 256  # files decoded at a time: what waits in memory is some of their bytes


class ImageReader(Reader):
    """Images as uint8 [n, channels, resize, resize], kept in the cache, whole and squeezed into a square.

    So do CDAN, TLL and SHOT (`Resize((256, 256))`). Bilinear with antialiasing, turned as their EXIF data say; grey by
    BT.601 for a network of one channel; what is transparent is laid on white, as a page shows it; of 16 bits the upper
    8; the first frame of an animation. Scored is the middle `size` x `size`.

    Decoded by as many threads as PyTorch uses. The cache's key is the content of the files in their order, `resize`,
    `channels`, and the versions of this reader and of Pillow.

    Args:
        size: height and width of the network's images.
        channels: 1 or 3.
        mean, std: of the pixels in [0, 1], one for all channels or for each: what the network was trained with.
        resize: height and width of the stored images; None: 256 / 224 of `size`.
        augment: see `Augment`.
    """

    suffixes = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
    version = 1

    def __init__(
        self,
        size: int,
        channels: int,
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.5,
        resize: int | None = None,
        augment: Augment = "crop_flip",
    ) -> None:
        self.side = round(SHIPPED_RESIZE * size) if resize is None else resize
        self.channels = channels
        if self.side < size:
            raise ValueError(f"data.resize={resize} is smaller than the network's images: net.input.size={size}")
        if augment not in AUGMENTS:
            raise ValueError(f"data.augment={augment!r}, but what can be done is {list(get_args(Augment))}")
        to_network = ToNetwork(channels, size, _plain(mean), _plain(std))
        self.train_transform = Chain((*AUGMENTS[augment](self.side, size), to_network))
        self.eval_transform = Chain((CentreCrop(self.side, size), to_network))

    def read(self, files: Files, names: Sequence[str]) -> Read:
        n, row = len(names), self.channels * self.side**2
        content = hashlib.sha256("".join(files.sha256(names)).encode()).hexdigest()
        key = f"version {self.version}, Pillow {PIL.__version__}, {self.channels}x{self.side}x{self.side}, {content}"
        fill = partial(self._fill, files, names)
        # The images that could be read, room for the others, and for each file whether it could.
        stored = cached_tensor("images", key, (n * row + n,), torch.uint8, fill)
        readable = stored[n * row :].bool()
        good = readable.nonzero()[:, 0].tolist()
        x = stored[: len(good) * row].view(len(good), self.channels, self.side, self.side)
        bad = [names[i] for i in (~readable).nonzero()[:, 0].tolist()]
        return Read(x, good, {name: self._fault(files, name) for name in bad})

    def _fill(self, files: Files, names: Sequence[str], out: Tensor) -> None:
        images = out[: -len(names)].view(len(names), self.channels, self.side, self.side)
        readable = out[-len(names) :]
        done = 0
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for start in range(0, len(names), MANY):
                found = pool.map(partial(self._decoded, files), names[start : start + MANY])
                for i, image in enumerate(found, start):
                    if isinstance(image, Tensor):
                        images[done].copy_(image)
                        readable[i] = 1
                        done += 1

    def _decoded(self, files: Files, name: str) -> Tensor | str:
        """Return the image uint8 [channels, side, side], or what is wrong with the file."""
        try:
            return decode(files.read(name), self.channels, self.side)
        except Exception as error:  # Pillow's decoders raise all sorts of things for broken files
            return _reason(error)

    def _fault(self, files: Files, name: str) -> str:
        found = self._decoded(files, name)
        return found if isinstance(found, str) else "could not be read when it was decoded for the cache"


def decode(content: bytes, channels: int, side: int) -> Tensor:
    """Return the image in a file's `content` as uint8 [channels, side, side]; raises whatever Pillow raises."""
    if not content:
        raise ValueError("empty")
    with Image.open(BytesIO(content), formats=FORMATS) as file:
        image = ImageOps.exif_transpose(file)
    image = _opaque(_eight_bits(image)).convert("L" if channels == 1 else "RGB")
    pixels = np.array(image.resize((side, side), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).view(side, side, channels).permute(2, 0, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow would clip pixels of 16 bits at 255."""
    if image.mode in ("F", "LAB"):
        raise ValueError(f"pixels of mode {image.mode}, whose range is not known")
    if not image.mode.startswith("I"):
        return image
    pixels = np.array(image)
    if pixels.min() < 0 or pixels.max() >= 2**16:
        raise ValueError("pixels of 32 bits, whose range is not known")
    return Image.fromarray((pixels // 2**8).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")  # the only way out of this mode
    if image.mode not in ("LA", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _reason(error: Exception) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return f"is none of {', '.join(FORMATS)}"
    text = " ".join(str(error).split()) or type(error).__name__
    return "truncated" if "truncated" in text.lower() else text


def _plain(value: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Sequence) else float(value)
