"""The two convolutional networks of the digits literature, without their last layers."""

from itertools import pairwise

from torch import nn


class LeNet(nn.Sequential):
    """conv20-conv50 of the 20-50-500 LeNet of ADDA, CDAN and SHOT: [n, channels, size, size] -> [n, out_dim].

    The 500 is the bottleneck's width; the dropout2d is that of CDAN's and SHOT's code.
    """

    def __init__(self, channels: int = 1, size: int = 28, dropout: float = 0.5) -> None:
        super().__init__(
            nn.Conv2d(channels, 20, kernel_size=5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(20, 50, kernel_size=5),
            nn.Dropout2d(dropout),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
        )
        side = ((size - 4) // 2 - 4) // 2
        if side < 1:
            raise ValueError(f"LeNet needs images of 16 pixels or more, got size={size}")
        self.out_dim = 50 * side**2


class Dtn(nn.Sequential):
    """The 64-128-256 network for 32x32 digits (CDAN, SHOT): [n, channels, size, size] -> [n, out_dim]."""

    def __init__(
        self, channels: int = 3, size: int = 32, dropouts: tuple[float, float, float] = (0.1, 0.3, 0.5)
    ) -> None:
        widths = (channels, 64, 128, 256)
        layers: list[nn.Module] = []
        for (a, b), dropout in zip(pairwise(widths), dropouts, strict=True):
            layers += [
                nn.Conv2d(a, b, kernel_size=5, stride=2, padding=2),
                nn.BatchNorm2d(b),
                nn.Dropout2d(dropout),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.Flatten())
        side = -(-size // 8)
        self.out_dim = 256 * side**2
