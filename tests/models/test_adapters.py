"""LoRA inside backbones: what is trained, what stays, and the same function once it is folded in."""

import json
import sys

import polars as pl
import pytest
import torch
from conftest import call, config, normal
from texts import WORDS, write_tokenizer
from torch import nn
from torch.testing import assert_close
from torchvision import models

from da.build import build
from da.models.adapters import Lora, merged
from da.models.mlp import Mlp
from da.models.network import Bottleneck, Network
from da.models.pretrained import Torchvision
from da.models.state import load_checkpoint
from da.models.timm_model import Timm
from da.models.transformer import Transformer
from da.use import open_run


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The folder of a BERT of two layers that knows a few words."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    sizes = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(**sizes, intermediate_size=32)).save_pretrained(folder)
    return write_tokenizer(folder)


class Convolutions(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.append(nn.Linear(6, 5))
        self.out_dim = 5


def tokens(n=6):
    ids = torch.randint(5, len(WORDS), (n, 7), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(7) < 3 + torch.arange(n)[:, None]).int()
    return {"input_ids": (ids * mask).int(), "attention_mask": mask}


CASES = {
    "bert": (lambda bert: Transformer(str(bert)), ("query", "value"), tokens),
    "vit": (lambda _: Timm("test_vit"), ("qkv",), lambda: normal(6, 3, 160, 160, dtype=torch.float32)),
    "convolutions": (lambda _: Convolutions(), ("0", "5"), lambda: normal(6, 3, 8, 8, dtype=torch.float32)),
}


@pytest.fixture(params=CASES)
def case(request, bert):
    """A network with an adapter, its backbone without, and rows for both."""
    make, layers, rows = CASES[request.param]
    torch.manual_seed(0)
    plain = make(bert)

    def lora(backbone):
        return Lora(backbone, layers, r=2, alpha=4.0)

    net = Network(make(bert), feature_dim=6, num_classes=3, bottleneck=Bottleneck, adapter=lora)
    state = {name.replace(".base_layer", ""): value for name, value in net.backbone.backbone.state_dict().items()}
    plain.load_state_dict({name: value for name, value in state.items() if "lora_" not in name})
    return net, plain, rows()


def step(net, x):
    """One step of everything that can be trained."""
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.5, weight_decay=0.1)
    net.train()(x)[1].square().sum().backward()
    optimizer.step()


def test_only_adapter_bottleneck_and_head_have_gradients_and_the_rest_stays_bit_for_bit(case):
    net, _, x = case
    before = {name: value.clone() for name, value in net.state_dict().items()}
    step(net, x)
    with_gradient = {name for name, p in net.named_parameters() if p.grad is not None}
    expected = {n for n, _ in net.named_parameters() if "lora_" in n or not n.startswith("backbone.")}
    assert with_gradient == expected
    step(net, x)  # A moves once B is no longer 0
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in moved if name.startswith("backbone.")} == {n for n in expected if "lora_" in n}


def test_at_the_start_it_is_the_backbone(case):
    net, plain, x = case
    assert_close(net.eval().backbone(x), plain.eval()(x))


def test_merged_it_computes_the_same_without_an_adapter_inside(case):
    net, plain, x = case
    step(net, x)
    step(net, x)
    z, logits = net.eval()(x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    folded = merged(net).eval()
    assert folded.backbone.state_dict().keys() == plain.state_dict().keys()
    assert not any(type(module).__module__.startswith("peft") for module in folded.modules())
    assert_close(folded(x), (z, logits), rtol=1e-5, atol=1e-5)
    assert (folded.backbone(x) - plain.eval()(x)).abs().max() > 1e-3  # there was something to fold
    assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_a_layer_computes_w_plus_b_a_scaled_by_alpha_over_r():
    backbone = Mlp(4, [5])
    w, b = backbone[0].weight.clone(), backbone[0].bias.clone()
    lora = Lora(backbone, ("0",), r=2, alpha=6.0)
    down, up = (getattr(lora.backbone[0], name)["default"].weight for name in ("lora_A", "lora_B"))
    assert (down.shape, up.shape) == ((2, 4), (5, 2))
    nn.init.normal_(up)
    x = normal(7, 4, dtype=torch.float32)
    assert_close(lora(x), x @ w.T + b + 6 / 2 * x @ down.T @ up.T)


def test_the_parameters_are_r_times_the_widths_of_each_chosen_layer(bert):
    net = Lora(Transformer(str(bert)), ("query", "value"), r=3)
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 2 * 2 * 3 * (16 + 16)
    one = Lora(Transformer(str(bert)), ("0.attention.self.query",), r=3)
    assert sum(p.numel() for p in one.parameters() if p.requires_grad) == 3 * (16 + 16)


def test_dropout_is_that_of_the_adapter_in_training_only():
    lora = Lora(Mlp(4, [5]), ("0",), dropout=0.5)
    nn.init.normal_(lora.backbone[0].lora_B["default"].weight)
    x = normal(7, 4, dtype=torch.float32)
    assert not torch.equal(lora.train()(x), lora.train()(x))
    assert torch.equal(lora.eval()(x), lora.eval()(x))


@pytest.mark.parametrize("layers", [("query",), ("0", "conv"), ("",), ()])
def test_unknown_layers_are_answered_with_those_there_are(layers):
    with pytest.raises(ValueError, match=r"net.adapter.layers names .*; there are 0, 5 \(all: 0, 5\)"):
        Lora(Convolutions(), layers)


def test_pytorchs_attention_is_not_offered_since_it_would_not_run_the_adapter():
    with pytest.raises(ValueError, match="names .'out_proj'., which no layer of the backbone is called; there are"):
        Lora(Torchvision("vit_b_16"), ("out_proj",))
    assert isinstance(models.vit_b_16().encoder.layers[0].self_attention, nn.MultiheadAttention)


def test_a_frozen_backbone_with_an_adapter_is_a_contradiction():
    with pytest.raises(ValueError, match="net.freeze_backbone=true would freeze net.adapter too"):
        Network(Mlp(4, [5]), 5, 3, freeze_backbone=True, adapter=lambda b: Lora(b, ("0",)))


def test_a_network_without_adapters_is_merged_already():
    net = Network(Mlp(4, [5]), 5, 3)
    assert merged(net) is net


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"an adapter needs peft: pip install 'lambda-da\[peft\]'"):
        Lora(Mlp(4, [5]), ("0",))


def test_the_adapter_is_a_choice_and_learns_at_the_full_rate(bert):
    cfg = config(
        "data=digits_demo", "net=transformer", f"net.backbone.name={bert}", "+net/adapter=lora", "net.adapter.r=3"
    )
    net = build(cfg.net, "net")
    assert {g.name: g.lr_scale for g in net.parameter_groups()} == {"backbone": 1.0, "bottleneck": 1.0, "head": 1.0}
    assert (
        sum(p.numel() for g in net.parameter_groups() if g.name == "backbone" for p in g.parameters) == 2 * 2 * 3 * 32
    )


@pytest.fixture(scope="module")
def trained(bert, tmp_path_factory):
    """The folder of a run of a BERT with an adapter on sentences."""
    folder = tmp_path_factory.mktemp("run")
    for name in "ab":
        words = [("good", "bad")[i % 2] for i in range(24)]
        rest = [" ".join(("a", "book")[i >> bit & 1] for bit in range(5)) for i in range(24)]
        texts = [f"{w} {r}" if name == "a" else f"{r} {w}" for w, r in zip(words, rest, strict=True)]
        pl.DataFrame({"text": texts, "label": words}).write_csv(folder / f"{name}.csv")
    net = ("net=transformer", f"net.backbone.name={bert}", "net.input.max_length=8", "+net/adapter=lora")
    data = ("data=csv", f"data.source={folder / 'a.csv'}", f"data.target={folder / 'b.csv'}", "data.text=text")
    short = ("method=mmd", "trainer.max_epochs=2", "+data.steps_per_epoch=20", "figures=none", "optimizer.lr=0.02")
    sizes = ("data.batch_size.source=8", "data.batch_size.target=8")
    assert call("train", *net, *data, *short, *sizes, f"run_dir={folder / 'run'}") == 0
    return folder


def test_a_run_learns_leaves_the_pretrained_weights_and_says_what_was_trained(trained, bert):
    state = load_checkpoint(trained / "run/checkpoints/last.ckpt")["state_dict"]
    before = Transformer(str(bert)).state_dict()
    kept = {
        k.removeprefix("net.backbone.backbone."): v for k, v in state.items() if k.startswith("net.backbone.backbone.")
    }
    for name, value in before.items():
        layer, _, leaf = name.rpartition(".")
        found = kept[name] if name in kept else kept[f"{layer}.base_layer.{leaf}"]
        assert torch.equal(found, value), name
    assert any(v.abs().max() > 0 for k, v in kept.items() if "lora_B" in k)
    results = json.loads((trained / "run/results.json").read_text())
    assert results["test"]["source_acc"]["last"] == 1.0
    adapter, bottleneck, head = 2 * 2 * 8 * (16 + 16), 16 * 256 + 3 * 256, 256 * 2 + 2
    assert results["cost"]["trainable_parameters"] == adapter + bottleneck + head
    whole = sum(v.numel() for v in before.values()) - 512 * ("embeddings.position_ids" in before)
    assert results["cost"]["parameters"] == whole + adapter + bottleneck + head


def test_the_run_is_opened_and_exported_without_its_adapter(trained, capfd):
    opened = open_run(trained / "run", "last")
    state = load_checkpoint(trained / "run/checkpoints/last.ckpt")["state_dict"]
    assert_close(opened.net.state_dict(), {k[4:]: v for k, v in state.items() if k.startswith("net.")}, rtol=0, atol=0)
    out = trained / "n.pt2"
    assert call("export", trained / "run", "--format", "torch_export", "--out", out, "--check", trained / "b.csv") == 0
    assert "outputs differ from the checkpoint's by at most" in capfd.readouterr().out
    names = torch.export.load(out).state_dict.keys()
    assert names
    assert not [name for name in names if "lora" in name]
