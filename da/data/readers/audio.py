"""Sound files, and clips that are in memory, as waveforms of one length."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
import torch
from scipy.io import wavfile
from scipy.signal import resample_poly
from torch import Tensor

from da.data.files import Files
from da.data.readers.base import Read, Reader
from da.data.rows import Draw, uniform

FULL_SCALE = 32768  # what an int16 sample is divided by


@dataclass(frozen=True)
class ToWave:
    """Samples int16 [n, T] -> float32 in [-1, 1)."""

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        return x.float() / FULL_SCALE


@dataclass(frozen=True)
class ShiftAndGain:
    """The same, each row moved by up to +-`samples`, with silence where nothing was, and up to +-`decibels` louder."""

    samples: int
    decibels: float

    def __call__(self, x: Tensor, draw: Draw) -> Tensor:
        u = 2 * uniform(draw, 2) - 1
        length = x.shape[1]
        origin = torch.arange(length) - (u[:, :1] * self.samples).round().long()  # where each sample comes from
        there = (origin >= 0) & (origin < length)
        gain = 10 ** (u[:, 1:] * self.decibels / 20)
        return x.gather(1, origin.clamp(0, length - 1)).float() * there * (gain / FULL_SCALE)


class AudioReader(Reader):
    """Sound files -> the mean of their channels, int16 [n, rate * seconds]: the middle, or padded on both sides.

    WAV in integers of 8 to 32 bits or in floats; FLAC and OGG where the package soundfile is installed.

    Args:
        rate: samples a second.
        seconds: length of a clip.
        resample: files of another rate are resampled (polyphase, anti-aliased); otherwise they are bad.
        shift: training clips are moved in time by up to this part of their length, at random.
        gain: training clips are made louder or softer by up to so many decibels, at random.

    A file is bad that can't be read to its end, has another rate, holds no samples, only zeros, or a float that is
    no number or beyond [-1, 1]. Raises ValueError for settings that are out of range.
    """

    suffixes = (".wav", ".flac", ".ogg")

    def __init__(
        self, rate: int, seconds: float, resample: bool = False, shift: float = 0.1, gain: float = 6.0
    ) -> None:
        if rate < 1 or rate * seconds < 1:
            raise ValueError(f"net.input.rate={rate} and seconds={seconds} leave no sample")
        if not 0 <= shift < 1 or gain < 0:
            raise ValueError(f"shift={shift} must be at least 0 and less than 1, gain={gain} at least 0")
        self.rate, self.resample = rate, resample
        self.length = round(rate * seconds)
        self.eval_transform = ToWave()
        self.train_transform = ShiftAndGain(round(shift * self.length), gain)

    def read(self, files: Files, names: Sequence[str]) -> Read:
        clips: list[np.ndarray] = []
        good: list[int] = []
        bad: dict[str, str] = {}
        for number, name in enumerate(names):
            try:
                clips.append(self._clip(*_decode(name, files.read(name))))
            except Exception as error:  # a damaged header makes scipy raise anything: UnboundLocalError, struct.error
                bad[name] = str(error) or type(error).__name__
                continue
            good.append(number)
        return Read(_stacked(clips, self.length), good, bad)

    def encode(self, clips: Sequence[np.ndarray], rate: int) -> Tensor:
        """Return clips of any length, [T] or [T, channels] at this `rate`, as int16 [n, rate * seconds].

        Raises ValueError naming the first clip that is bad.
        """
        fitted = []
        for number, samples in enumerate(clips):
            try:
                fitted.append(self._clip(rate, samples))
            except ValueError as error:
                raise ValueError(f"clip {number}: {error}") from error
        return _stacked(fitted, self.length)

    def _clip(self, rate: int, samples: np.ndarray) -> np.ndarray:
        if rate != self.rate and not self.resample:
            raise ValueError(f"{rate} Hz instead of {self.rate} (net.input.resample=true resamples)")
        if not samples.size:
            raise ValueError("no samples in it")
        wave = _mono(samples)
        if rate != self.rate:
            ratio = Fraction(self.rate, rate)
            wave = resample_poly(wave, ratio.numerator, ratio.denominator)
        clip = np.zeros(self.length, dtype=np.int16)
        surplus = len(wave) - self.length
        middle = wave[surplus // 2 :][: self.length] if surplus > 0 else wave
        start = max(0, -surplus) // 2
        clip[start : start + len(middle)] = (middle * FULL_SCALE).round().clip(-FULL_SCALE, FULL_SCALE - 1)
        if not clip.any():
            raise ValueError(f"silence: all of the middle {self.length / self.rate:g} seconds are zeros")
        return clip


def _stacked(clips: Sequence[np.ndarray], length: int) -> Tensor:
    return torch.from_numpy(np.stack(clips) if clips else np.empty((0, length), dtype=np.int16))


def _mono(samples: np.ndarray) -> np.ndarray:
    """Mean of the channels in float64, full scale being 1. ValueError for floats that are no sound."""
    if samples.dtype.kind == "u":
        middle = 2 ** (8 * samples.itemsize - 1)
        wave = samples.astype(np.float64) / middle - 1
    elif samples.dtype.kind == "i":  # scipy puts 24 bits into the upper part of 32
        wave = samples / 2.0 ** (8 * samples.itemsize - 1)
    else:
        wave = samples.astype(np.float64)
        if not np.isfinite(wave).all():
            raise ValueError("some samples are no numbers")
        if (peak := np.abs(wave).max()) > 1:
            raise ValueError(f"floats reach {peak:.3g}, but full scale is 1: scale the file")
    return wave.mean(axis=1) if wave.ndim == 2 else wave


def _decode(name: str, content: bytes) -> tuple[int, np.ndarray]:
    """Return sampling rate and samples [T] or [T, channels] of a file."""
    if name.lower().endswith(".wav") or content.startswith(b"RIFF"):  # what lies in a data set may have no name
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            rate, samples = wavfile.read(BytesIO(content))
        # Other warnings are of chunks that hold no sound, such as a title.
        if cut := [str(warning.message) for warning in said if "EOF" in str(warning.message)]:
            raise ValueError(f"cut short: {cut[0]}")
        return rate, samples
    try:
        soundfile: Any = import_module("soundfile")
    except ImportError as error:
        raise ValueError("FLAC and OGG need soundfile: pip install soundfile") from error
    samples, rate = soundfile.read(BytesIO(content), dtype="float64")
    return rate, samples.clip(-1, 1)  # what a lossy decoder overshoots, every player cuts off
