import pytest
import torch
from conftest import normal
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close
from torchvision import models

from da.models.batch_norm import SharedBatchNorm
from da.models.lenet import Dtn, LeNet
from da.models.mlp import Mlp
from da.models.network import Bottleneck, Network
from da.models.pretrained import Torchvision
from da.models.state import check_fits, load_checkpoint


def network(**settings):
    return Network(Mlp(4, [8]), feature_dim=6, num_classes=3, bottleneck=Bottleneck, **settings)


def test_every_batch_norm_is_shared_and_alone_it_is_pytorchs():
    net = network()
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert [type(m) for m in norms] == [SharedBatchNorm]
    x = normal(7, 6, dtype=torch.float32)
    plain = nn.BatchNorm1d(6)
    assert_close(norms[0](x), plain(x), rtol=0, atol=0)
    assert_close(norms[0].running_var, plain.running_var, rtol=0, atol=0)


def test_backbone_learns_at_its_own_rate_and_every_parameter_is_in_one_group():
    net = network(backbone_lr_scale=0.1)
    groups = list(net.parameter_groups())
    assert {g.name: g.lr_scale for g in groups} == {"backbone": 0.1, "bottleneck": 1.0, "head": 1.0}
    assert sorted(id(p) for g in groups for p in g.parameters) == sorted(id(p) for p in net.parameters())


def test_a_frozen_backbone_stays_as_it_is_batch_norms_and_all():
    backbone = Bottleneck(4, 6)
    backbone.out_dim = 6
    frozen = Network(backbone, feature_dim=6, num_classes=3, bottleneck=Bottleneck, freeze_backbone=True)
    assert [group.name for group in frozen.parameter_groups()] == ["bottleneck", "head"]
    before = {name: value.clone() for name, value in frozen.backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in frozen.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    frozen.train()(normal(8, 4, dtype=torch.float32))[1].square().sum().backward()
    optimizer.step()
    assert_close(frozen.backbone.state_dict(), before, rtol=0, atol=0)


def test_without_a_bottleneck_the_widths_must_agree():
    with pytest.raises(ValueError, match="net.feature_dim=6, but the backbone gives 8"):
        Network(Mlp(4, [8]), feature_dim=6, num_classes=3)


def test_a_normalised_head_has_a_direction_and_a_length():
    head = network(normalised_head=True).head
    assert_close(head.weight.norm(dim=1), head.parametrizations.weight.original0.squeeze(1))


@pytest.mark.parametrize(
    ("backbone", "shape"), [(LeNet(), (1, 28)), (LeNet(3, 32), (3, 32)), (Dtn(), (3, 32)), (Dtn(1, 28), (1, 28))]
)
def test_out_dim_is_the_width_of_the_output(backbone, shape):
    channels, size = shape
    assert backbone.eval()(torch.zeros(2, channels, size, size)).shape == (2, backbone.out_dim)


def test_lenet_has_20_and_50_filters():
    assert [m.out_channels for m in LeNet() if isinstance(m, nn.Conv2d)] == [20, 50]
    assert LeNet().out_dim == 800


@pytest.mark.parametrize(
    ("name", "width", "size"),
    [
        ("resnet18", 512, 64),
        ("squeezenet1_0", 512, 64),
        ("mobilenet_v3_small", 1024, 64),
        ("googlenet", 1024, 64),
        ("vit_b_16", 768, 224),
        ("swin_t", 768, 64),
        ("convnext_tiny", 768, 64),
    ],
)
def test_any_torchvision_classifier_gives_its_features(name, width, size):
    backbone = Torchvision(name).train()
    assert backbone.out_dim == width
    assert backbone(torch.zeros(2, 3, size, size)).shape == (2, width)


def test_features_are_what_the_classifier_was_given():
    torch.manual_seed(0)
    backbone = Torchvision("resnet18").eval()
    whole = models.resnet18().eval()
    whole.load_state_dict(backbone.model.state_dict(), strict=False)
    x = normal(2, 3, 64, 64, dtype=torch.float32)
    assert_close(whole.fc(backbone(x)), whole(x))


def test_weights_come_from_a_safetensors_file(tmp_path):
    whole = models.squeezenet1_0()
    save_file({k: v.half() for k, v in whole.state_dict().items()}, tmp_path / "w.safetensors")
    backbone = Torchvision("squeezenet1_0", str(tmp_path / "w.safetensors"))
    first = next(backbone.parameters())
    assert first.dtype == torch.float32
    assert_close(first, next(whole.parameters()).half().float())


def test_weights_of_another_network_are_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"does not fit resnet18: missing \(121\).*other shape \(1\): conv1.weight"):
        Torchvision("resnet18", str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet19", None, "no classifier 'resnet19'; it has"),
        ("resnet18", "IMAGENET", "resnet18 has IMAGENET1K_V1, DEFAULT"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(name, weights, message):
    with pytest.raises(ValueError, match=message):
        Torchvision(name, weights)


def test_a_missing_weights_file_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors: no such file"):
        Torchvision("resnet18", "nowhere.safetensors")


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_checkpoint_with_code_in_it_is_not_executed(tmp_path, capsys):
    torch.save({"state_dict": {}, "x": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(ValueError, match="was not loaded"):
        load_checkpoint(tmp_path / "evil.ckpt")
    assert "executed" not in capsys.readouterr().out


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "half.ckpt").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ValueError, match=r"half.ckpt is damaged"):
        load_checkpoint(tmp_path / "half.ckpt")


def test_the_first_differences_of_state_dicts_are_named():
    a, b = network().state_dict(), Network(Mlp(5, [8]), 8, 3).state_dict()
    with pytest.raises(ValueError, match=r"x does not fit y: missing \(7\): .*; other shape \(2\): backbone.0.weight"):
        check_fits(b, a, "x", "y")
