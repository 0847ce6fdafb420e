"""Any model of timm."""

import sys

import pytest
import torch
from conftest import normal
from nets import with_statistics
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from da.models.batch_norm import SharedBatchNorm, share_batch_norm
from da.models.network import Network
from da.models.timm_model import Timm
from da.models.transformer import Transformer

pytestmark = pytest.mark.usefixtures("nowhere")  # no data on this machine are found by chance


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_efficientnet", "mobilenetv3_small_050", "efficientvit_b0"]
)
def test_any_model_of_timm_gives_its_features_also_inside_a_network_where_batch_norm_is_shared(name):
    import timm

    x = normal(4, 3, 64, 64)  # in double: in float32 the layouts of the two networks' convolutions round differently
    backbone = with_statistics(Timm(name, size=64).double(), x)
    plain = timm.create_model(name, num_classes=0, **({"img_size": 64} if name == "test_vit" else {})).double().eval()
    same = dict(zip(plain.state_dict(), backbone.state_dict().values(), strict=True))  # in one order
    plain.load_state_dict(same)
    net = Network(backbone, feature_dim=backbone.out_dim, num_classes=2).double().eval()
    with torch.no_grad():
        assert plain(x).shape[1] == backbone.out_dim
        assert plain(x).std() > 0.01
        assert_close(net(x)[0], plain(x), rtol=1e-4, atol=1e-5)


def test_batch_norms_with_an_activation_inside_become_shared_ones():
    net = Network(Timm("test_efficientnet"), feature_dim=256, num_classes=2)
    norms = {type(m) for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert norms == {SharedBatchNorm}


def test_a_batch_norm_that_does_more_than_normalise_is_not_replaced():
    class Doubled(nn.BatchNorm1d):
        def forward(self, input):
            return 2 * super().forward(input)

    with pytest.raises(TypeError, match="a Doubled can't become a SharedBatchNorm"):
        share_batch_norm(nn.Sequential(Doubled(3)))


def test_timm_reads_files_with_and_without_a_classifier(root):
    import timm

    whole = timm.create_model("test_efficientnet").state_dict()
    save_file(whole, root / "whole.safetensors")
    save_file({k: v for k, v in whole.items() if not k.startswith("classifier.")}, root / "headless.safetensors")
    for file in ("whole", "headless"):
        state = Timm("test_efficientnet", file).state_dict()
        assert_close(state["model.conv_stem.weight"], whole["conv_stem.weight"])
        assert_close(state["model.bn1.0.weight"], whole["bn1.weight"])
    x = normal(2, 3, 65, 65, dtype=torch.float32)
    model = timm.create_model("test_efficientnet")
    model.load_state_dict(whole)
    with torch.no_grad():
        assert_close(Timm("test_efficientnet", "whole", classifier=True).eval()(x), model.eval()(x))
    assert Timm("test_efficientnet", classifier=True).out_dim == 1000
    with pytest.raises(ValueError, match=r"headless does not fit test_efficientnet: missing \(2\): classifier.bias"):
        Timm("test_efficientnet", "headless", classifier=True)
    with pytest.raises(ValueError, match="vit_small_patch14_dinov2 was pretrained without classes: it has no"):
        Timm("vit_small_patch14_dinov2", classifier=True)
    with pytest.raises(ValueError, match="whole does not fit test_resnet: missing"):
        Timm("test_resnet", "whole")
    with pytest.raises(ValueError, match="timm's test_resnet has DEFAULT"):
        Timm("test_resnet", "IMAGENET")


def test_an_unknown_model_of_timm_is_answered_with_similar_names():
    with pytest.raises(ValueError, match=r"no model 'resnet19'; it has \d+, among them .*resnet18"):
        Timm("resnet19")


def test_timms_own_weights_need_their_own_normalisation(monkeypatch):
    import timm

    asked = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda n, pretrained, **k: asked.append(pretrained) or create(n, **k))
    with pytest.raises(
        ValueError, match=r"net.input.mean=\[0.485, 0.456, 0.406\], but .* set net.input.mean=\[0.5,0.5,0.5\]"
    ):
        Timm("test_vit", "DEFAULT", mean=[0.485, 0.456, 0.406], std=[0.5, 0.5, 0.5])
    assert asked == []
    Timm("test_vit", "DEFAULT", mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    Timm("test_vit", mean=[0.485, 0.456, 0.406])
    assert asked == [True, False]


@pytest.mark.parametrize(("module", "make", "extra"), [("timm", Timm, "timm"), ("transformers", Transformer, "text")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, module, make, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'lambda-da\[{extra}\]'"):
        make("resnet18")
