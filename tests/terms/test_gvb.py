"""GVB: naive formula, who receives what, and the head it needs."""

import math

import pytest
import torch
from conftest import TOY, config, make_step, normal
from torch.testing import assert_close

from da.build import build
from da.models.heads import BridgedHead
from da.models.mlp import Mlp
from da.models.network import Network
from da.models.state import load_checkpoint
from da.run import run
from da.schedules import Constant
from da.terms.gvb import BRIDGE, Gvb


def make(strength=0.5, **options):
    torch.manual_seed(0)
    return Gvb(3, (8, 6), 0.0, reversal=Constant(strength), **options).double()


def bridged():
    """A step whose rows carry the output of the classifier's bridge."""
    step = make_step()
    bridges = {"source": normal(12, 3, seed=50), "target": normal(9, 3, seed=51)}
    return step._replace(streams={n: step.streams[n]._replace(layers={BRIDGE: b}) for n, b in bridges.items()})


def naive(term, step):
    """L_trans, mean |b_G| and mean |b_D|, a row at a time."""
    transfer, of_g, of_d, rows_seen = 0.0, 0.0, 0.0, 0
    for name, domain in (("source", 1), ("target", 0)):
        above, below = 0.0, 0.0
        for logits, bridge in zip(step.streams[name].logits, step.streams[name].layers[BRIDGE], strict=True):
            p = logits.softmax(0)
            hidden = term.hidden(p[None])[0]
            b = term.bridge(hidden)[0]
            q = torch.sigmoid(term.score(hidden)[0] - b)
            w = math.exp(float((p * p.log()).sum().detach()))
            above, below = above - w * (q if domain else 1 - q).log(), below + w
            of_g, of_d, rows_seen = of_g + bridge.abs().sum() / 3, of_d + b.abs(), rows_seen + 1
        transfer += above / below / 2
    return transfer, of_g / rows_seen, of_d / rows_seen


def test_the_value_is_the_transfer_loss_and_the_two_bridges():
    term, step = make(bridge_weight=0.7, discriminator_bridge_weight=0.2), bridged()
    transfer, of_g, of_d = naive(term, step)
    assert_close(term(step), transfer + 0.7 * of_g + 0.2 * of_d)
    assert_close(term.measures["bridge"], of_g.detach())
    assert_close(term.measures["discriminator_bridge"], of_d.detach())


def test_the_network_gets_the_discriminators_losses_reversed_and_its_own_bridge_as_it_is():
    term, step = make(), bridged()
    leaves = [step.source.logits.requires_grad_(), step.target.layers[BRIDGE].requires_grad_(), *term.parameters()]
    logits, bridge, *inner = torch.autograd.grad(term(step), leaves)
    transfer, of_g, of_d = naive(term, step)
    plain = torch.autograd.grad(transfer + of_g + of_d, leaves)
    assert_close(logits, -0.5 * plain[0])
    assert_close(bridge, plain[1])
    assert_close(inner, list(plain[2:]))
    assert all(g.abs().max() > 1e-6 for g in (logits, bridge, *inner))


def test_a_bridge_of_zero_costs_nothing_and_a_blind_discriminator_log_2():
    term, step = make(), bridged()
    streams = {n: r._replace(layers={BRIDGE: torch.zeros_like(r.logits)}) for n, r in step.streams.items()}
    for layer in (term.score, term.bridge):
        torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    assert_close(term(step._replace(streams=streams)), torch.tensor(math.log(2)).double())


def test_a_network_without_a_bridge_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no layer 'head.bridge': GVB needs net.head to be"):
        make()(make_step()._replace(streams={n: r._replace(layers={}) for n, r in make_step().streams.items()}))
    with pytest.raises(ValueError, match=r"no layers \['head.bridge'\]"):
        Network(Mlp(4, [5]), 5, 3).watch(Gvb.layers)


def test_the_discriminator_needs_a_hidden_layer():
    with pytest.raises(ValueError, match="hidden_dims must name one layer or more"):
        Gvb(3, ())


def test_the_bridged_head_is_the_difference_of_two_linear_layers():
    head, z = BridgedHead(5, 3).double(), normal(4, 5)
    expected = z @ (head.fc.weight - head.bridge.weight).T + head.fc.bias - head.bridge.bias
    assert_close(head(z), expected)


def test_a_network_takes_a_head_and_hands_out_new_ones():
    net = Network(Mlp(4, [5]), 5, 3, head=BridgedHead)
    assert isinstance(net.head, BridgedHead)
    assert isinstance(net.new_head(), BridgedHead)
    net.watch([BRIDGE])
    z, logits = net(torch.randn(2, 4))
    assert_close(logits, net.head.fc(z) - net.watched[BRIDGE])
    assert {group.name for group in net.parameter_groups()} == {"backbone", "head"}


def test_a_head_of_its_own_cannot_be_weight_normalised():
    with pytest.raises(ValueError, match="normalised_head=true is for the linear head"):
        Network(Mlp(4, [5]), 5, 3, normalised_head=True, head=BridgedHead)


def test_the_method_puts_the_bridge_into_the_network_and_no_other_method_does():
    assert isinstance(build(config("data=toy", "net=mlp", "method=gvb").net, "net").head, BridgedHead)
    assert "head" not in config("data=toy", "net=mlp", "method=dann").net


def trained(folder, *overrides):
    """The network after two batches."""
    run(config(*TOY, *overrides, "trainer.limit_train_batches=2", "trainer.max_epochs=1", run_dir=folder))
    state = load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("net.")}


def test_lambda_0_trains_the_bridged_network_of_source_only(tmp_path):
    plain = ("net.batch_norm=separate", "net.backbone.dropout=0.0")
    without = trained(tmp_path / "0", "method=gvb", *plain, "method.weights.gvb.value=0.0")
    source_only = trained(tmp_path / "s", "method=source_only", "+net/head=bridged", *plain)
    with_ = trained(tmp_path / "1", "method=gvb", *plain)
    assert without.keys() == source_only.keys()
    assert all(torch.equal(without[name], source_only[name]) for name in without)
    assert any(not torch.equal(without[name], with_[name]) for name in without)
