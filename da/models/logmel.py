"""A convolutional network for sound, from the waveform on."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

FLOOR = 1e-6  # power below which all is silence: 96 dB under a full-scale sine in a window of 256 samples


class LogMel(nn.Module):
    """Waveforms [n, samples] in [-1, 1] -> log-mel spectrograms [n, 1, n_mels, frames] of zero mean each.

    Hann windows of `n_fft` samples every `hop`, around their middles (zeros beyond the ends), power, triangular mel
    bands, natural logarithm, and the clip's own mean taken off, so that its loudness does not matter.
    """

    window: Tensor
    bands: Tensor

    def __init__(self, rate: int, n_mels: int, n_fft: int, hop: int) -> None:
        super().__init__()
        self.rate, self.n_fft, self.hop = rate, n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft))
        self.register_buffer("bands", mel_bands(rate, n_mels, n_fft))

    def extra_repr(self) -> str:
        return f"rate={self.rate}, n_fft={self.n_fft}, hop={self.hop}"

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # power exceeds what half precision holds
            spectrum = torch.stft(
                x, self.n_fft, self.hop, window=self.window, center=True, pad_mode="constant", return_complex=True
            )
            power = torch.view_as_real(spectrum).square().sum(dim=3)
            logs = (self.bands @ power + FLOOR).log()
        return (logs - logs.mean(dim=(1, 2), keepdim=True)).unsqueeze(1)


class LogMelCnn(nn.Module):
    """Log-mel spectrogram and a small 2-D CNN: waveforms [n, samples] in [-1, 1] -> [n, widths[-1]].

    A block is a 3x3 convolution, batch norm, ReLU and maximum over 2x2; the mean over frequency and time ends it.

    Args:
        rate: samples a second.
        n_mels: mel bands between 0 and rate / 2.
        n_fft: samples in a window.
        hop: samples from one window to the next.
        widths: channels of each block.

    Raises ValueError for more mel bands than the window can tell apart.
    """

    def __init__(
        self,
        rate: int,
        n_mels: int = 40,
        n_fft: int = 256,
        hop: int = 128,
        widths: Sequence[int] = (16, 32, 64, 128),
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("a LogMelCnn needs at least one block, got widths=[]")
        self.spectrogram = LogMel(rate, n_mels, n_fft, hop)
        layers: list[nn.Module] = []
        for a, b in pairwise([1, *widths]):
            layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
        self.blocks = nn.Sequential(*layers)
        self.out_dim = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.blocks(self.spectrogram(x))
        return y.mean(dim=(2, 3))


def mel_bands(rate: int, n_mels: int, n_fft: int) -> Tensor:
    """Return the weights [n_mels, n_fft // 2 + 1] of the FFT's bins in each mel band.

    Triangles of height 1 whose corners are evenly spaced from 0 to rate / 2 in mel = 2595 log10(1 + f / 700) (HTK).
    Raises ValueError if a band lies between two bins.
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    mels = torch.linspace(0, top, n_mels + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mels / 2595) - 1)
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * rate / n_fft
    width = corners.diff()
    rising = (bins - corners[:-2, None]) / width[:-1, None]
    falling = (corners[2:, None] - bins) / width[1:, None]
    bands = torch.minimum(rising, falling).clamp(min=0)
    if empty := int((bands.sum(dim=1) == 0).sum()):
        raise ValueError(
            f"{empty} of n_mels={n_mels} bands hold none of the frequencies of n_fft={n_fft} samples at {rate} Hz: "
            "take fewer bands or a longer window"
        )
    return bands.float()
