"""ResNet-20 for 32 x 32 pixels."""

import pytest
import torch
from conftest import normal
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from da.models.cifar_resnet import BasicBlock, CifarResnet

pytestmark = pytest.mark.usefixtures("nowhere")  # no data on this machine are found by chance


def test_resnet20_has_19_convolutions_and_the_published_number_of_parameters():
    backbone = CifarResnet()
    assert sum(isinstance(m, nn.Conv2d) for m in backbone.modules()) == 19
    # 0.27 M in He et al. 2016, table 6: the classifier has 650 of them.
    assert sum(p.numel() for p in backbone.parameters()) + 650 == 269_722
    assert sum(isinstance(m, nn.Conv2d) for m in CifarResnet(18).modules()) == 109


def test_resnet20_keeps_its_classifier_where_it_is_asked_to(root):
    whole = CifarResnet(classifier=True).eval()
    save_file(whole.state_dict(), root / "mine.safetensors")
    x = normal(2, 3, 32, 32, dtype=torch.float32)
    backbone, again = CifarResnet(weights="mine").eval(), CifarResnet(weights="mine", classifier=True).eval()
    with torch.no_grad():
        assert_close(again(x), whole.linear(backbone(x)))
        assert again(x).shape == (2, again.out_dim)
    assert "linear" not in repr(backbone)  # by which its features are found in the cache


def test_the_shortcut_takes_every_other_pixel_and_adds_empty_channels():
    block = BasicBlock(2, 6, stride=2).eval()
    nn.init.zeros_(block.bn2.weight)  # nothing is left of the residual
    x = normal(1, 2, 4, 4, dtype=torch.float32)
    expected = torch.zeros(1, 6, 2, 2)
    for i in range(2):
        for j in range(2):
            expected[:, 2:4, i, j] = x[:, :, 2 * i, 2 * j].clamp(min=0)
    assert_close(block(x), expected)


def test_resnet20_reads_a_file_without_counts_of_batches(root):
    other = CifarResnet()
    state = {k: v for k, v in other.state_dict().items() if "num_batches" not in k}
    save_file(state | {"linear.weight": torch.zeros(10, 64), "linear.bias": torch.zeros(10)}, root / "c.safetensors")
    assert_close(CifarResnet(weights="c").state_dict(), other.state_dict())
    with pytest.raises(ValueError, match="c does not fit a CifarResnet of 2 blocks a stage: unexpected"):
        CifarResnet(2, "c")
