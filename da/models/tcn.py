"""The temporal convolutional network for series."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import weight_norm


class CausalConv(nn.Module):
    """A weight-normalised convolution whose output at a time depends on that time and the ones before it."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv = weight_norm(nn.Conv1d(in_channels, out_channels, kernel, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(pad(x, (self.past, 0)))
        return y


class ResidualBlock(nn.Module):
    """Two causal convolutions with ReLU and dropout (of whole channels), and a shortcut (Bai et al. 2018, fig. 1b)."""

    def __init__(self, in_channels: int, channels: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            CausalConv(in_channels, channels, kernel, dilation),
            nn.ReLU(),
            nn.Dropout1d(dropout),
            CausalConv(channels, channels, kernel, dilation),
            nn.ReLU(),
            nn.Dropout1d(dropout),
        )
        self.shortcut = nn.Identity() if in_channels == channels else nn.Conv1d(in_channels, channels, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.relu(self.residual(x) + self.shortcut(x))
        return y


class Tcn(nn.Module):
    """The TCN of Bai, Kolter & Koltun 2018, averaged over time: [n, channels, time] -> [n, widths[-1]].

    Level i has dilation 2^i, so that an output sees 1 + 2 (kernel - 1) (2^levels - 1) times. The mean over all times
    stands for the paper's last output, which is blind to what lies farther back than that.

    Args:
        channels: of the series.
        widths: channels of each level.
        kernel: taps of every convolution.
        dropout: of whole channels, as the paper says (sec. 3.4).
    """

    def __init__(
        self, channels: int, widths: Sequence[int] = (64, 64, 64, 128), kernel: int = 3, dropout: float = 0.2
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("a Tcn needs at least one level, got widths=[]")
        blocks = [
            ResidualBlock(a, b, kernel, dilation=2**level, dropout=dropout)
            for level, (a, b) in enumerate(pairwise([channels, *widths]))
        ]
        self.levels = nn.Sequential(*blocks)
        self.out_dim = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.levels(x)
        return y.mean(dim=2)
