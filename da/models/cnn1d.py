"""The convolutional network of AdaTime for series."""

from itertools import pairwise

from torch import nn


class Cnn1d(nn.Sequential):
    """The 1-D CNN of AdaTime (Ragab et al. 2023, sec. 4.3, and its code): [n, channels, time] -> [n, out_dim].

    Three blocks of convolution, batch norm, ReLU and maximum over 2, then the mean over time. The first block has
    `kernel` taps, the others 8, and only the first ends in dropout.

    Args:
        channels: of the series.
        kernel: taps of the first convolution: 5 for HAR, HHAR and WISDM, 25 for EEG, 32 for machine faults.
        stride: of the first convolution: 1, and 6 for EEG and machine faults.
        width: channels after the first block; twice as many after the second.
        out_dim: channels after the last block.
        dropout: after the first block; 0.5, and 0.2 for EEG.
    """

    def __init__(
        self,
        channels: int,
        kernel: int = 5,
        stride: int = 1,
        width: int = 64,
        out_dim: int = 128,
        dropout: float = 0.5,
    ) -> None:
        widths = (channels, width, 2 * width, out_dim)
        layers: list[nn.Module] = []
        for block, (a, b) in enumerate(pairwise(widths)):
            taps, step = (8, 1) if block else (kernel, stride)
            layers += [
                nn.Conv1d(a, b, taps, step, padding=taps // 2, bias=False),
                nn.BatchNorm1d(b),
                nn.ReLU(),
                nn.MaxPool1d(2, padding=1),
                *([] if block else [nn.Dropout(dropout)]),
            ]
        super().__init__(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.out_dim = out_dim
