"""L2-SP and L2 against closed forms and the optimizer's weight decay; that every regulariser of transfer acts."""

import copy

import pytest
import torch
from conftest import Net, config, make_step, normal
from omegaconf import OmegaConf
from torch.testing import assert_close

from da.build import build
from da.models.mlp import Mlp
from da.models.network import Network
from da.schedules import Constant
from da.terms.base import Objective
from da.terms.l2_sp import L2SP
from da.terms.supervised import CrossEntropy

ALL = ("backbone", "bottleneck", "head")


def prepared(term, net):
    term.prepare(net)
    return term


def moved(net, by):
    """Move every parameter of the network by the same number."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(by)


def test_is_half_the_squared_distance_to_the_start_and_half_the_squared_size_of_the_head():
    step = make_step()
    term = prepared(L2SP(ratio=0.3), step.net)
    size = sum(float(p.detach().add(0.1).square().sum()) for p in step.net.head.parameters())
    moved(step.net, 0.1)
    count = 4 * 8 + 8 + 8 * 5 + 5  # numbers in the backbone, each 0.1 from its start
    assert_close(term(step), torch.tensor(0.5 * 0.01 * count + 0.3 / 2 * size, dtype=torch.float64))


def test_gradient_is_the_way_from_the_start_and_for_the_head_the_weights_times_the_ratio():
    step = make_step()
    term, start = prepared(L2SP(ratio=0.3), step.net), copy.deepcopy(step.net)
    moved(step.net, 0.1)
    term(step).backward()
    for now, before in zip(step.net.backbone.parameters(), start.backbone.parameters(), strict=True):
        assert_close(now.grad, (now - before).detach())
    for now in step.net.head.parameters():
        assert_close(now.grad, 0.3 * now.detach())


def test_is_exactly_zero_at_the_start_where_nothing_is_drawn_to_zero():
    step = make_step()
    term = prepared(L2SP(to_start=ALL, to_zero=()), step.net)
    value = term(step)
    value.backward()
    assert value == 0
    assert all(p.grad.abs().max() == 0 for p in step.net.parameters())


def test_plain_l2_takes_the_step_of_the_optimizers_weight_decay():
    decayed, penalised = make_step(), make_step()
    term = prepared(L2SP((), ALL), penalised.net)
    for step, decay in ((decayed, 0.2), (penalised, 0.0)):
        loss = step.net(step.batch["source"].x)[1].square().mean()
        (loss + 0.2 * term(penalised) if step is penalised else loss).backward()
        torch.optim.SGD(step.net.parameters(), lr=0.1, weight_decay=decay).step()
    assert_close(list(penalised.net.parameters()), list(decayed.net.parameters()), rtol=1e-14, atol=1e-15)


def test_a_resumed_run_compares_with_the_first_start():
    step = make_step()
    first = prepared(L2SP(), step.net)
    moved(step.net, 0.1)
    again = prepared(L2SP(), step.net)  # what a resumed run does before it loads the checkpoint
    assert again(step) != first(step)
    again.load_state_dict(first.state_dict())
    assert_close(again(step), first(step), rtol=0, atol=0)


def test_the_start_is_not_trained():
    term = prepared(L2SP(), Net())
    assert list(term.parameters())
    assert not any(p.requires_grad for p in term.parameters())


def test_only_the_named_parts_are_penalised():
    step = make_step()
    term = prepared(L2SP(to_start=["head"], to_zero=[]), step.net)
    moved(step.net.backbone, 1.0)
    assert term(step) == 0
    moved(step.net.head, 1.0)
    assert_close(term(step), torch.tensor((5 * 3 + 3) / 2, dtype=torch.float64))


def test_a_normalised_head_is_penalised_through_its_magnitude_and_direction():
    torch.manual_seed(0)
    net = Network(Mlp(4, [5]), feature_dim=5, num_classes=3, normalised_head=True)
    value = prepared(L2SP([], ["head"]), net)(make_step()._replace(net=net))
    assert_close(value, sum(p.detach().square().sum() for p in net.head.parameters()) / 2)


def test_a_part_without_parameters_adds_nothing():
    step = make_step()
    assert prepared(L2SP([], ["bottleneck"]), step.net)(step) == 0


@pytest.mark.parametrize(
    ("to_start", "to_zero"), [(["trunk"], []), ([], []), (["head"], ["head"]), (["backbone", "backbone"], [])]
)
def test_parts_must_be_known_and_named_once(to_start, to_zero):
    with pytest.raises(ValueError, match=r"expected one or more of backbone, bottleneck, head"):
        L2SP(to_start, to_zero)


def test_a_negative_ratio_is_refused():
    with pytest.raises(ValueError, match="ratio must not be negative, got -1"):
        L2SP(ratio=-1.0)


def test_needs_the_network_and_its_start():
    step = make_step()
    with pytest.raises(ValueError, match="it needs prepare"):
        L2SP()(step)
    with pytest.raises(ValueError, match="a step with its net"):
        prepared(L2SP(), step.net)(step._replace(net=None))


def seen_by(net):
    """A step with what the network makes of x."""
    step, streams = make_step(), {}
    net.watch(("backbone",))
    for name, rows in step.streams.items():
        z, logits = net(step.batch[name].x)
        streams[name] = rows._replace(z=z, logits=logits, layers=dict(net.watched))
    return step._replace(streams=streams, net=net)


def trained(name, weight):
    """Five steps of gradient descent on cross entropy and a term of conf/; the term's value after them."""
    cfg = config("data=toy", "net=mlp", "method=source_only", f"term={name}")
    OmegaConf.resolve(cfg)
    net, term = Net(), build(cfg.method.terms[name], "term")
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.add_(0.3 * normal(*p.shape, seed=i))
    objective = Objective({"task": CrossEntropy(), "term": term}, {"term": Constant(weight)})
    objective.prepare(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        objective(seen_by(net)).total.backward()
        optimizer.step()
    return term(seen_by(net)).detach()


@pytest.mark.parametrize(
    "name", ["bss", "delta", "distill_features", "distill_logits", "distill_relations", "l2", "l2_sp"]
)
def test_a_weight_of_one_leaves_the_term_lower_than_a_weight_of_zero(name):
    assert trained(name, 1.0) < 0.99 * trained(name, 0.0)
