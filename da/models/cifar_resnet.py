"""The residual network of CIFAR-10."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from da.models.state import check_fits
from da.models.weight_files import read_weights

WIDTHS = (16, 32, 64)
CLASSES = 10


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters: every stride-th pixel, and zeros for new channels.

    He et al. 2016, sec. 4.2, option A; half of the zeros before the old channels and half after them.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.new = stride, (channels - in_channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.new, self.new))
        return F.relu(residual + shortcut)


class CifarResnet(nn.Module):
    """The ResNet of 6 `blocks` + 2 layers for 32x32 images (He et al. 2016, sec. 4.2): [n, 3, h, w] -> [n, 64].

    Args:
        blocks: in each of the three stages; 3 is ResNet-20, 18 is ResNet-110.
        weights: None for a random start (He et al. 2015), or a .safetensors file of all of the classifier, by its path
            or its name in `<DA_DATA_ROOT>/weights` (see `read_weights`).
        classifier: keep it: [n, 3, h, w] -> logits [n, 10] of CIFAR-10's classes.
    """

    def __init__(self, blocks: int = 3, weights: str | None = None, classifier: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks, stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks, stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks, stride=2)
        self.linear = nn.Linear(WIDTHS[2], CLASSES) if classifier else None
        self.out_dim = CLASSES if classifier else WIDTHS[2]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        if weights is not None:
            read = read_weights(weights, "a CifarResnet has none to download")
            state = {key: value for key, value in read.items() if classifier or not key.startswith("linear.")}
            # Weights of PyTorch before 0.4.1 lack the count of batches, which matters only where momentum is None.
            counts = [key for key in self.state_dict() if key.endswith("num_batches_tracked")]
            state = {key: torch.tensor(0) for key in counts} | state
            check_fits(state, self.state_dict(), weights, f"a CifarResnet of {blocks} blocks a stage")
            self.load_state_dict(state)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        z = self.layer3(self.layer2(self.layer1(x))).mean(dim=(2, 3))
        return z if self.linear is None else self.linear(z)


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    later = [BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(in_channels, channels, stride), *later)
