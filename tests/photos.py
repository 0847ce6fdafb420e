"""Random image files, for the tests of what reads them."""

from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int, h: int = 40, w: int = 50, channels: int = 3) -> np.ndarray:
    """Smooth random colours, uint8 [h, w, channels]: they survive JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC)
    return np.asarray(smooth)[..., :channels]


def write_photo(path: Path, seed: int, h: int = 40, w: int = 50) -> Path:
    """A photo in the format of its suffix; its content depends on the seed alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, h, w)).save(path)
    return path


def write_domain(folder: Path, counts: dict[str, int], seed: int = 0, suffix: str = ".jpg") -> Path:
    """A folder a class with so many photos, all different; the class "" is the folder itself."""
    for c, (name, count) in enumerate(counts.items()):
        for i in range(count):
            write_photo(folder / name / f"{i:03}{suffix}", 10_000 * seed + 100 * c + i)
    return folder
