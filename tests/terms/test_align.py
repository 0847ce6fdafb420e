"""Alignment of any layers: which ones are read, and that their gradients reach the network."""

import pytest
import torch
from conftest import TOY, Net, config, encoded, make_step, normal
from torch.testing import assert_close

from da.build import build
from da.discrepancies.linear import Linear, mean_distance
from da.terms.align import Align, layer_of
from da.types import Encoded, Step


def test_several_layers_are_added_up():
    step = make_step()
    layers = ("features", "logits", "backbone")
    single = [Align(Linear(), layer)(step) for layer in layers]
    assert_close(Align(Linear(), layers)(step), sum(single))


def test_a_map_over_positions_is_averaged_over_them():
    rows = encoded(4)._replace(layers={"conv": normal(4, 3, 5, 6)})
    assert_close(layer_of(rows, "conv"), rows.layers["conv"].mean(dim=(2, 3)))


@pytest.mark.parametrize("layers", [[], ["features", "features"]])
def test_no_layer_and_the_same_layer_twice_are_refused(layers):
    with pytest.raises(ValueError, match="one or more different names"):
        Align(Linear(), layers)


def test_the_network_keeps_the_layers_it_is_asked_for_and_no_others():
    net, x = Net(), normal(6, 4)
    net.watch(["backbone.0"])
    net(x)
    assert_close(net.watched["backbone.0"], net.backbone[0](x))
    net.watch([])
    net(x)
    assert net.watched == {}


def test_a_layer_that_is_not_there_is_named_beside_those_that_are():
    with pytest.raises(ValueError, match=r"no layers \['backbone.7'\]; it has backbone, backbone.0"):
        Net().watch(["backbone", "backbone.7"])


def test_aligning_an_inner_layer_trains_what_lies_below_it_only():
    net, term = Net(), Align(Linear(), "backbone.0")
    net.watch(term.layers)
    streams = {}
    for i, name in enumerate(("source", "target")):
        z, logits = net(normal(8, 4, seed=i) + i)
        rows = torch.arange(8)
        streams[name] = Encoded(z, logits, rows % 3, rows, rows, dict(net.watched))
    value = term(Step(streams, 0.5))
    assert_close(value, mean_distance(*(streams[n].layers["backbone.0"] for n in ("source", "target"))))
    value.backward()
    assert net.backbone[0].weight.grad.abs().sum() > 0
    assert net.backbone[2].weight.grad is None


@pytest.mark.parametrize("batch_norm", ["joint", "separate"])
def test_a_method_hands_the_named_layers_of_each_stream_to_its_terms(batch_norm, monkeypatch):
    layers = "method.terms.align.layer=[features,backbone.0]"
    cfg = config(*TOY, "method=mmd", layers, f"net.batch_norm={batch_norm}")
    method = build(cfg.method, "method", net=build(cfg.net, "net"), optimizer=build(cfg.optimizer, "optimizer"))
    data = build(cfg.data, "data")
    data.load(method.streams)
    batch = next(iter(data.train_dataloader()))[0]
    monkeypatch.setattr(type(method), "progress", 0.5, raising=False)
    step = method.encode(batch)
    for name, samples in batch.items():
        assert_close(step.streams[name].layers["backbone.0"], method.net.backbone[0](samples.x))
    assert method.loss(step).parts["align"] > 0
