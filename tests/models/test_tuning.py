"""Plans for fine-tuning: what is frozen stays bit for bit as it is, and every part learns at its own rate."""

import pytest
import torch
from conftest import TOY, config, normal
from nets import net_config
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from da.assemble import assemble
from da.build import build
from da.models.batch_norm import StochNorm
from da.models.lenet import LeNet
from da.models.network import Bottleneck, Network
from da.models.state import load_checkpoint
from da.models.tuning import Tuning, depth_blocks
from da.run import run


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.linear(x))


class Stages(nn.Module):
    """Three blocks of a linear map and a batch norm, and a parameter in none of them."""

    out_dim = 4

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.zeros(4))
        self.blocks = nn.Sequential(*(Block() for _ in range(3)))

    def forward(self, x):
        return self.blocks(x + self.first)


def network(**settings):
    torch.manual_seed(0)
    return Network(Stages(), feature_dim=6, num_classes=3, bottleneck=Bottleneck, **settings)


def trained_names(net):
    return {name for name, p in net.named_parameters() if p.requires_grad}


def planned(**plan):
    net = network()
    tuning = Tuning(**plan)
    tuning.prepare(net)
    return net, tuning


def test_a_part_is_trained_from_its_progress_on_and_the_longest_name_counts():
    net, tuning = planned(unfreeze={"backbone": 0.5, "backbone.blocks.2": 0.2, "backbone.blocks.2.norm": None})
    everything = trained_names(net)
    tuning.apply(net, 0.0)
    assert {name.partition(".")[0] for name in trained_names(net)} == {"bottleneck", "head"}
    tuning.apply(net, 0.2)
    unfrozen = trained_names(net)
    assert {name for name in unfrozen if "backbone" in name} == {
        "backbone.blocks.2.linear.weight",
        "backbone.blocks.2.linear.bias",
    }
    tuning.apply(net, 0.5)
    assert everything - trained_names(net) == {"backbone.blocks.2.norm.weight", "backbone.blocks.2.norm.bias"}


def test_a_frozen_part_stays_bit_for_bit_batch_norms_and_all_and_learns_after():
    net, tuning = planned(unfreeze={"backbone": 0.5, "backbone.blocks.2": 0.0})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for progress in (0.0, 0.4):
        tuning.apply(net.train(), progress)
        optimizer.zero_grad()
        net(normal(8, 4, dtype=torch.float32))[1].square().sum().backward()
        optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    frozen = {name for name in before if name.startswith("backbone") and not name.startswith("backbone.blocks.2")}
    assert not changed & frozen
    assert changed >= {"backbone.blocks.2.norm.running_mean", "backbone.blocks.2.linear.weight", "head.weight"}
    tuning.apply(net.train(), 0.5)
    net(normal(8, 4, dtype=torch.float32))
    assert not torch.equal(net.backbone.blocks[0].norm.running_mean, before["backbone.blocks.0.norm.running_mean"])


def test_a_part_that_the_method_froze_for_good_is_not_unfrozen():
    net, tuning = planned(unfreeze={"head": 0.5})
    net.head.requires_grad_(False)
    for progress in (0.0, 1.0):
        tuning.apply(net, progress)
        assert not any("head" in name for name in trained_names(net))


def test_gradual_unfreezes_the_last_stage_first():
    net, tuning = planned(gradual=3, until=0.6)
    seen = []
    for progress in (0.0, 0.19, 0.21, 0.41, 0.61):
        tuning.apply(net, progress)
        seen.append(sorted({name.split(".")[2] for name in trained_names(net) if "blocks" in name}))
    assert seen == [[], [], ["2"], ["1", "2"], ["0", "1", "2"]]


def test_the_learning_rate_falls_from_block_to_block_and_every_parameter_has_one():
    net, _ = planned(lr_decay=0.5, lr_scales={"backbone.blocks.1": 10.0, "head": 3.0})
    scales = {name: g.lr_scale for g in net.parameter_groups() for p in g.parameters for name in names(net, p)}
    assert scales["backbone.blocks.2.linear.weight"] == 1.0
    assert scales["backbone.blocks.1.norm.bias"] == 0.5 * 10
    assert scales["backbone.blocks.0.linear.weight"] == scales["backbone.first"] == 0.25
    assert (scales["bottleneck.0.weight"], scales["head.weight"]) == (1.0, 3.0)
    assert scales.keys() == dict(net.named_parameters()).keys()


def names(net, parameter):
    return [name for name, p in net.named_parameters() if p is parameter]


def test_frozen_batch_norms_keep_their_statistics_but_learn_scale_and_shift():
    net, tuning = planned(batch_norm="frozen")
    tuning.apply(net.train(), 0.0)
    norms = [m for m in net.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert not any(norm.training for norm in norms)
    assert net.bottleneck[1].training
    assert net.train().backbone.training
    net(normal(8, 4, dtype=torch.float32))[1].sum().backward()
    assert all(norm.running_mean.eq(0).all() and norm.weight.grad is not None for norm in norms)


def test_stoch_norm_takes_each_channel_by_the_batch_or_by_the_moving_statistics():
    net, _ = planned(stoch_norm=0.5)
    norm = net.backbone.blocks[0].norm.double()
    assert isinstance(norm, StochNorm)
    assert not isinstance(net.bottleneck[1], StochNorm)
    x = normal(16, 4, seed=3) * 2 + 1
    y = norm.train()(x)
    by_batch = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    by_moving = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    for c in range(4):
        assert torch.equal(y[:, c], by_moving[:, c]) or torch.allclose(y[:, c], by_batch[:, c], atol=1e-12)
    drawn = [torch.equal(norm(x)[:, 0], F.batch_norm(x, norm.running_mean, norm.running_var)[:, 0]) for _ in range(200)]
    assert 70 < sum(drawn) < 130  # 100 +- 4 standard deviations
    assert_close(norm.eval()(x), F.batch_norm(x, norm.running_mean, norm.running_var), rtol=0, atol=0)


@pytest.mark.parametrize(("p", "statistics"), [(0.0, "batch"), (1.0, "moving")])
def test_stoch_norm_at_its_ends_is_one_of_the_two(p, statistics):
    norm = StochNorm.of(nn.BatchNorm1d(4), p).double()
    x = normal(16, 4)
    y = norm.train()(x)
    given = (norm.running_mean, norm.running_var) if statistics == "moving" else (None, None)
    assert_close(y, F.batch_norm(x, *given, training=statistics == "batch"))


@pytest.mark.parametrize(
    ("net", "first", "last", "blocks"),
    [
        ("cifar_resnet20", "conv1", "layer3.2", 11),
        ("mobilenet_v2", "model.features.0", "model.features.18", 19),
        ("torchvision", "model.conv1", "model.layer4.1", 10),
    ],
)
def test_the_blocks_of_a_backbone_from_its_input_to_its_output(net, first, last, blocks):
    found = depth_blocks(build(net_config(net).net, "net").backbone)
    assert (found[0], found[-1], len(found)) == (first, last, blocks)


def test_a_backbone_of_plain_layers_has_one_block_a_layer_and_an_only_layer_is_one():
    assert depth_blocks(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))) == ["0", "2"]
    assert depth_blocks(nn.Linear(2, 2)) == [""]
    assert depth_blocks(LeNet())[0] != ""


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"unfreeze": {"backbone.nine": 0.5}}, r"no layers \['backbone.nine'\]; it has backbone"),
        ({"lr_scales": {"tail": 2.0}}, r"no layers \['tail'\]"),
        ({"unfreeze": {"backbone": 2.0}}, r"tuning.unfreeze=\[2.0\]: expected a progress in \[0, 1\]"),
        ({"until": -0.1}, r"tuning.until=\[-0.1\]"),
        ({"gradual": 9}, "tuning.gradual=9, but the backbone has 3 blocks"),
        ({"gradual": 0}, "tuning.gradual=0 must be 1 or more"),
        ({"gradual": 2, "unfreeze": {"head": 0.5}}, "give one of them"),
        ({"lr_decay": 0.0}, "tuning.lr_decay=0.0"),
        ({"stoch_norm": 1.5}, "tuning.stoch_norm=1.5 must lie in"),
        ({"stoch_norm": 0.5, "batch_norm": "frozen"}, "which batch_norm=frozen leaves out"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan, message):
    with pytest.raises(ValueError, match=message):
        planned(**plan)


def test_a_backbone_that_is_frozen_for_good_has_no_plan():
    with pytest.raises(ValueError, match="freeze_backbone=true leaves nothing"):
        Tuning().prepare(network(freeze_backbone=True))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_with_a_plan_keeps_the_backbone_until_its_time(tmp_path, optimizer):
    """With fused optimizers, which refuse a group that has momentum only in part."""
    first = {}
    plans = {start: ("tuning=head_first", f"tuning.unfreeze.backbone={start}") for start in ("null", "0.5", "0.0")}
    for name, plan in {"plain": (), **plans}.items():
        run(config(*TOY, "method=finetune", f"optimizer={optimizer}", *plan, run_dir=tmp_path / name))
        state = load_checkpoint(tmp_path / name / "checkpoints/last.ckpt")["state_dict"]
        first[name] = next(value for key, value in state.items() if key.startswith("net.backbone"))
    torch.manual_seed(0)
    _, net = assemble(config(*TOY))
    assert torch.equal(first["0.0"], first["plain"])
    assert not torch.equal(first["0.5"], first["plain"])
    assert torch.equal(first["null"], next(net.backbone.parameters()))
