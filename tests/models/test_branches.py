"""A frozen branch beside a trained one: what is trained, what stays, and what a finished run needs."""

import json
import shutil

import pytest
import timm
import torch
from conftest import TOY, call, config, normal, options
from nets import Normed
from photos import write_domain
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from da.build import build
from da.models.batch_norm import SharedBatchNorm
from da.models.branches import Branches
from da.models.fusion_operators import Attention, Concatenation, Conv1x1, Gate, ResidualAdapter, Sum
from da.models.mlp import Mlp
from da.models.network import Bottleneck, Network
from da.models.state import load_checkpoint
from da.models.timm_model import Timm
from da.run import run
from da.use import open_run


class Maps(nn.Conv2d):
    def __init__(self, out_dim, stride=1):
        super().__init__(3, out_dim, 3, stride=stride)
        self.out_dim = out_dim


def network(fusion=Gate, trained=True, **settings):
    branches = Branches(Normed(4, 5), Normed(4, 3) if trained else None, fusion)
    return Network(branches, feature_dim=6, num_classes=3, bottleneck=Bottleneck, **settings)


def copy_of(state):
    return {name: value.clone() for name, value in state.items()}


def test_f_is_the_fusion_of_both_branches_and_out_dim_its_width():
    torch.manual_seed(0)
    branches = Branches(Mlp(4, [5]), Mlp(4, [3]), Concatenation)
    x = normal(7, 4, dtype=torch.float32)
    assert branches.out_dim == 8
    assert_close(branches(x), torch.cat([branches.frozen(x), branches.trained(x)], dim=1), rtol=0, atol=0)
    assert Branches(Mlp(4, [5]), Mlp(4, [3]), Conv1x1).out_dim == 5


def test_maps_are_fused_at_every_position_and_then_averaged():
    branches, x = Branches(Maps(5), Maps(2), Attention), normal(3, 3, 6, 6, dtype=torch.float32)
    fused = branches.fusion(branches.frozen(x), branches.trained(x))
    assert fused.shape == (3, 5, 4, 4)
    assert_close(branches(x), fused.mean(dim=(2, 3)))
    with pytest.raises(ValueError, match=r"got F1 \[3, 5, 4, 4\] and F2 \[3, 2, 2, 2\]"):
        Branches(Maps(5), Maps(2, stride=2), Sum)(x)


def test_a_model_of_timm_gives_its_maps():
    x = normal(2, 3, 64, 64, dtype=torch.float32)
    pooled, maps = Timm("test_resnet").eval(), Timm("test_resnet", pooled=False).eval()
    maps.load_state_dict(pooled.state_dict())
    assert maps(x).shape[1:] == (maps.out_dim, 2, 2)
    assert_close(maps(x).mean(dim=(2, 3)), pooled(x))


def test_without_a_trained_branch_the_fusion_is_given_f1_twice_and_has_to_learn():
    branches, x = Branches(Mlp(4, [8]), None, ResidualAdapter), normal(7, 4, dtype=torch.float32)
    with torch.no_grad():
        branches.fusion.adapter[2].weight.normal_()
    f1 = branches.frozen(x)
    assert_close(branches(x), f1 + branches.fusion.adapter(f1))
    with pytest.raises(ValueError, match=r"trained=null leaves nothing to train: Sum has no parameters"):
        Branches(Mlp(4, [8]), None, Sum)


def test_only_the_trained_branch_and_the_fusion_have_gradients_and_x_has_that_of_both():
    torch.manual_seed(0)
    net, x = network().train(), normal(8, 4, dtype=torch.float32).requires_grad_()
    net(x)[1].square().sum().backward()
    assert {n for n, p in net.named_parameters() if p.grad is None} == {
        f"backbone.frozen.{n}" for n, _ in net.backbone.frozen.named_parameters()
    }
    branches = Branches(Mlp(4, [5]), Mlp(4, [5]), Sum)
    x = normal(8, 4, dtype=torch.float32).requires_grad_()
    branches(x).sum().backward()
    both = sum(branch[0].weight.sum(dim=0) for branch in (branches.frozen, branches.trained))
    assert_close(x.grad, both.expand(8, 4))


@pytest.mark.parametrize("ask", [lambda net: net, lambda net: net.train(), lambda net: net.eval().train()])
def test_the_frozen_branch_stays_in_evaluation_mode_also_where_its_batch_norms_were_replaced(ask):
    net = ask(network())
    assert isinstance(net.backbone.frozen[1], SharedBatchNorm)
    assert [m.training for m in net.backbone.frozen.modules()] == [False] * 4
    assert net.backbone.trained[1].training
    before = copy_of(net.backbone.frozen.state_dict())
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    net(normal(8, 4, dtype=torch.float32))[1].square().sum().backward()
    optimizer.step()
    assert_close(net.backbone.frozen.state_dict(), before, rtol=0, atol=0)


def test_the_fusion_learns_at_the_full_rate_and_every_trained_parameter_is_in_one_group():
    net = network(backbone_lr_scale=0.1)
    groups = {(g.name, g.lr_scale): set(g.parameters) for g in net.parameter_groups()}
    fusion, branch = (set(part.parameters()) for part in (net.backbone.fusion, net.backbone.trained))
    assert groups.keys() == {("backbone", 1.0), ("backbone", 0.1), ("bottleneck", 1.0), ("head", 1.0)}
    assert (groups["backbone", 1.0], groups["backbone", 0.1]) == (fusion, branch)
    trained = [p for p in net.parameters() if p.requires_grad]
    assert sorted(id(p) for g in groups.values() for p in g) == sorted(map(id, trained))


# Runs


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A source run of LeNet on the demo digits, and one of two branches that starts from it."""
    folder = tmp_path_factory.mktemp("digits")
    short = ("data=digits_demo", "trainer=smoke", "figures=none", "trainer.limit_train_batches=3")
    run(config(*short, "net=lenet", "method=source_only", run_dir=folder / "source"))
    checkpoint = folder / "source/checkpoints/last.ckpt"
    started = f"net.backbone.source_checkpoint={checkpoint}"
    run(config(*short, "net=branches_lenet", "net/fusion=gate", "method=coral", started, run_dir=folder / "run"))
    return folder


def test_the_frozen_branch_of_a_run_is_the_source_runs_backbone_bit_for_bit(digits):
    source, after = (
        load_checkpoint(digits / f"{name}/checkpoints/last.ckpt")["state_dict"] for name in ("source", "run")
    )
    frozen = {k: v for k, v in after.items() if k.startswith("net.backbone.frozen.")}
    assert len(frozen) == 4
    for key, value in frozen.items():
        assert torch.equal(value, source[key.replace("frozen.", "")])
    assert not torch.equal(after["net.backbone.trained.0.weight"], frozen["net.backbone.frozen.0.weight"])


def test_the_run_is_opened_without_the_checkpoint_that_it_started_from(digits, tmp_path):
    shutil.copytree(digits / "run", tmp_path / "run")
    cfg = (tmp_path / "run/config.yaml").read_text()
    assert str(digits / "source") in cfg
    (tmp_path / "run/config.yaml").write_text(cfg.replace(str(digits / "source"), str(digits / "gone")))
    opened = open_run(tmp_path / "run", "last")
    state = load_checkpoint(digits / "run/checkpoints/last.ckpt")["state_dict"]
    assert_close(opened.net.state_dict(), {k[4:]: v for k, v in state.items() if k.startswith("net.")}, rtol=0, atol=0)
    assert not opened.net.backbone.frozen.training


def test_the_run_says_what_its_network_costs(digits):
    cost, alone = (json.loads((digits / f"{name}/results.json").read_text())["cost"] for name in ("run", "source"))
    lenet = sum(p.numel() for p in build(config("data=digits_demo", "net=lenet").net.backbone, "b").parameters())
    gate = 2 * 800 * 800 + 800
    assert cost["parameters"] == alone["parameters"] + lenet + gate
    assert cost["trainable_parameters"] == alone["parameters"] + gate
    convolutions = 20 * 25 * 24**2 + 50 * 20 * 25 * 8**2
    head = 800 * 500 + 500 * 10
    assert alone["macs"] == convolutions + head
    assert cost["macs"] == 2 * convolutions + 2 * 800 * 800 + head


def test_a_checkpoint_of_another_backbone_is_refused(digits):
    checkpoint = digits / "source/checkpoints/last.ckpt"
    with pytest.raises(ValueError, match=r"fit this backbone: unexpected \(2\): 3.bias, .* instead of \(5, 4\)"):
        Branches(Mlp(4, [5]), Mlp(4, [5]), Sum, source_checkpoint=str(checkpoint))
    with pytest.raises(FileNotFoundError, match="no checkpoint at nowhere"):
        Branches(Mlp(4, [5]), Mlp(4, [5]), Sum, source_checkpoint="nowhere.ckpt")


@pytest.mark.parametrize("fusion", options("net/fusion"))
def test_every_fusion_trains_and_its_run_is_used_without_the_files_of_pretrained_weights(fusion, tmp_path, monkeypatch):
    """A frozen ResNet with batch norms beside another network, on photos: what predict and export compute is equal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    pretrained = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file(pretrained, tmp_path / "w.safetensors")
    for seed, name in enumerate("ab"):
        write_domain(tmp_path / name, {"cat": 6, "dog": 5}, seed=seed)
    frozen = "net.backbone.frozen={_target_: da.models.timm_model.Timm, name: test_resnet, weights: w}"
    trained = "net.backbone.trained={_target_: da.models.timm_model.Timm, name: test_efficientnet, weights: null}"
    words = [
        "data=folder",
        "data.source=a",
        "data.target=b",
        "net=branches",
        "net.input.size=32",
        f"net/fusion={fusion}",
    ]
    words += [frozen] if fusion == "residual_adapter" else [frozen, trained]
    words += ["method=coral", "trainer.max_epochs=1", "+data.steps_per_epoch=3", "figures=none", "run_dir=run"]
    words += ["data.batch_size.source=8", "data.batch_size.target=8", "optimizer.lr=0.1"]
    assert call("train", *words) == 0
    state = load_checkpoint("run/checkpoints/last.ckpt")["state_dict"]
    for key, value in pretrained.items():
        assert torch.equal(state[f"net.backbone.frozen.model.{key}"], value), key
    (tmp_path / "w.safetensors").unlink()
    assert call("predict", "run", "b", "--out", "p.csv") == 0
    if fusion == "gate":
        assert call("export", "run", "--format", "torch_export", "--check", "b") == 0
    cost = json.loads((tmp_path / "run/results.json").read_text())["cost"]
    assert 0 < cost["trainable_parameters"] < cost["parameters"]
    assert cost["macs"] > 0


def test_cached_features_need_a_backbone_that_is_wholly_frozen(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        write_domain(tmp_path / name, {"cat": 6, "dog": 5}, seed=seed)
    words = ("data=folder", "data.source=a", "data.target=b", "net=branches_lenet", "net.input={channels: 3, size: 32}")
    assert call("train", *words, "data.cache_features=true", "figures=none") == 1
    assert "data.cache_features=true needs a frozen backbone" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["mcd", "vat"])  # several optimizers; a gradient with respect to x, and extra passes
def test_no_method_moves_the_frozen_branch(method, tmp_path):
    states = []
    for batches in (1, 3):
        folder = tmp_path / str(batches)
        cfg = config(*TOY, f"method={method}", f"trainer.limit_train_batches={batches}", run_dir=folder)
        cfg.net.backbone = {
            "_target_": "da.models.branches.Branches",
            "frozen": {"_target_": "nets.Normed", "in_dim": 2, "out_dim": 16},
            "trained": {"_target_": "da.models.mlp.Mlp", "in_dim": 2, "dims": [8]},
            "fusion": {"_target_": "da.models.fusion_operators.Gate", "_partial_": True},
        }
        run(cfg)
        states.append(load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"])
    few, many = states
    backbone = [key for key in few if key.startswith("net.backbone.")]
    assert "net.backbone.frozen.1.running_mean" in backbone
    for key in backbone:
        assert torch.equal(few[key], many[key]) == key.startswith("net.backbone.frozen."), key
