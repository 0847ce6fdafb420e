"""DELTA against loops over channels and positions, and the frozen copy that it compares with."""

import copy
import pickle

import pytest
import torch
from conftest import Net, make_step, normal
from torch import nn
from torch.testing import assert_close

from da.models.frozen import FrozenCopy
from da.models.network import Bottleneck, Network
from da.terms.delta import Delta
from da.types import Encoded, Samples, Step


class Maps(nn.Sequential):
    """Images to maps of three and of two channels."""

    out_dim = 2 * 2 * 2

    def __init__(self):
        super().__init__(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten())


def images(layers):
    """A network on 6x6 images, watching `layers`, and a function that makes the step of what it gives now."""
    torch.manual_seed(0)
    net = Network(Maps(), feature_dim=8, num_classes=3).double()
    rows = torch.arange(4)
    batch = {name: Samples(normal(4, 1, 6, 6, seed=i), rows % 3, rows, rows) for i, name in enumerate("st")}
    batch = {"source": batch["s"], "target": batch["t"]}

    def step():
        net.watch(layers)
        streams = {}
        for name, samples in batch.items():
            z, logits = net(samples.x)
            streams[name] = Encoded(z, logits, samples.y, rows, rows, dict(net.watched))
        return Step(streams, 0.5, batch, net)

    return net, step


def test_equals_loops_over_rows_layers_channels_and_positions():
    layers = ("backbone.0", "backbone.2")
    net, step = images(layers)
    term, start = Delta(layers), copy.deepcopy(net)
    term.prepare(net)
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.add_(0.1 * normal(*p.shape, seed=i))
    expected = 0.0
    for samples in step().batch.values():
        for x in samples.x:
            for depth in (1, 3):
                now, before = (nn.Sequential(*list(n.backbone)[:depth])(x[None])[0] for n in (net, start))
                for j in range(len(now)):
                    squares = [
                        (a - b) ** 2
                        for a, b in zip(now[j].flatten().tolist(), before[j].flatten().tolist(), strict=True)
                    ]
                    expected += sum(squares) / len(now) / len(samples.x) / 2
    assert_close(term(step()), torch.tensor(expected, dtype=torch.float64))


def test_is_exactly_zero_with_zero_gradient_at_the_start():
    net, step = images(("backbone.2",))
    term = Delta(("backbone.2",))
    term.prepare(net)
    value = term(step())
    value.backward()
    assert value == 0
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in net.parameters())


def test_is_the_square_of_a_shift_of_all_features():
    step = make_step()
    term = Delta(["features"], streams=["target"])
    term.prepare(step.net)
    with torch.no_grad():
        step.net.backbone[-1].bias.add_(0.5)
    z, logits = step.net(step.batch["target"].x)
    shifted = step._replace(streams={"target": step.target._replace(z=z, logits=logits)})
    assert_close(term(shifted), torch.tensor(0.25, dtype=torch.float64))


def test_a_layer_that_the_network_has_not_is_named():
    with pytest.raises(ValueError, match=r"no layers \['backbone.9'\]; it has backbone"):
        Delta(["backbone.9"]).prepare(Net())


@pytest.mark.parametrize("layers", [[], ["backbone", "backbone"]])
def test_layers_are_one_or_more_different_ones(layers):
    with pytest.raises(ValueError, match="one or more different names"):
        Delta(layers)


def with_batch_norm():
    torch.manual_seed(0)
    backbone = nn.Linear(4, 6)
    backbone.out_dim = 6
    net = Network(backbone, 5, 3, Bottleneck)
    with torch.no_grad():
        net.train()(normal(32, 4, dtype=torch.float32))  # so that the running statistics are not those of birth
    return net


def test_a_frozen_copy_gives_what_the_module_gave_in_evaluation_whatever_comes_later():
    net, x = with_batch_norm(), normal(7, 4, seed=1, dtype=torch.float32)
    frozen = FrozenCopy(net)
    with torch.no_grad():
        expected = net.eval()(x)
        for p in net.train().parameters():
            p.add_(1.0)
    net(x + 3)
    assert_close(frozen.train()(x), expected, rtol=0, atol=0)
    assert_close(frozen(x), expected, rtol=0, atol=0)  # the call before has changed no statistics
    assert not any(module.training for module in frozen.modules())


def test_a_frozen_copy_has_no_graph_and_nothing_to_train():
    frozen = FrozenCopy(Net())
    z, logits = frozen(normal(3, 4).requires_grad_())
    assert not z.requires_grad
    assert not logits.requires_grad
    assert not any(p.requires_grad for p in frozen.parameters())


def test_a_network_that_is_watched_and_has_run_can_be_copied_and_keeps_its_own_hooks():
    net, x = Net(), normal(3, 4)
    net.watch(("backbone",))
    net(x)
    seen = net.watched["backbone"]
    frozen = FrozenCopy(net, ("backbone.0",))
    frozen(x + 1)
    assert net.watched["backbone"] is seen
    assert list(frozen.watched) == ["backbone.0"]
    assert_close(frozen.watched["backbone.0"], net.backbone[0](x + 1).detach())
    net(x + 2)
    assert_close(frozen.watched["backbone.0"], net.backbone[0](x + 1).detach())
    pickle.loads(pickle.dumps(frozen))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_a_frozen_copy_watches_its_own_layers(duplicate):
    frozen, x = FrozenCopy(Net(), ("backbone",)), normal(3, 4)
    frozen(x)
    again = duplicate(frozen)
    again(x + 1)
    assert_close(frozen.watched["backbone"], frozen(x)[0])
    assert_close(again.watched["backbone"], frozen(x + 1)[0])


def test_a_frozen_copy_is_in_the_state_dict():
    frozen, other = FrozenCopy(Net()), Net()
    with torch.no_grad():
        other.head.bias.add_(1.0)
    later = FrozenCopy(other)
    later.load_state_dict(frozen.state_dict())
    assert_close(later(normal(3, 4)), frozen(normal(3, 4)), rtol=0, atol=0)


def test_a_resumed_run_compares_with_the_first_start():
    step, first, again = make_step(), Delta(["features"]), Delta(["features"])
    first.prepare(step.net)
    with torch.no_grad():
        step.net.backbone[-1].bias.add_(0.5)
    again.prepare(step.net)  # what a resumed run does before it loads the checkpoint
    assert again(step) != first(step)
    again.load_state_dict(first.state_dict())
    assert_close(again(step), first(step), rtol=0, atol=0)


def test_a_checkpoint_of_another_shape_or_no_file_is_refused(tmp_path):
    torch.save({"state_dict": {"net.head.weight": torch.zeros(7, 5)}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match="does not fit the net of this run"):
        FrozenCopy(Net()).load(tmp_path / "a.ckpt")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        FrozenCopy(Net()).load(tmp_path / "b.ckpt")
