"""Bi-Tuning against the paper's sums, written as loops, and what its keys are."""

import copy
import math
from functools import partial

import pytest
import torch
from conftest import Net, make_step, normal
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from da.models.heads import BridgedHead, DomainHeads
from da.terms.bi_tuning import BiTuning, contrast

T = 0.5


def make(net, **options):
    torch.manual_seed(0)
    term = BiTuning(5, **{"projection_dim": 4, "temperature": T} | options).double()
    term.prepare(net)
    return term


def moved(net):
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.add_(0.3 * normal(*p.shape, seed=i))
    return net


def unit(x):
    return x / x.norm()


def with_one(z):
    return unit(torch.cat([z, torch.ones(1, dtype=z.dtype)]))


def naive(query, key, batches, class_weights, temperature):
    """CCE and CCL of the last batch: `query` and `key` are (network, projector), every row of every batch is kept."""
    keys = []
    for x, y in batches:
        for one, c in zip(x, y.tolist(), strict=True):
            z = key[0](one[None])[0][0]
            keys.append((c, with_one(z), unit(key[1](z))))
    cce, ccl = 0.0, 0.0
    z, y, _ = query
    for i, c in enumerate(y.tolist()):
        w = unit(class_weights[c])
        own = float(with_one(z[i]) @ w) / temperature
        scores = [(c == k, float(h @ w) / temperature) for k, h, _ in keys] + [(True, own)]
        total = math.log(sum(math.exp(s) for _, s in scores))
        positive = [s - total for same, s in scores if same]
        cce -= sum(positive) / len(positive) / len(y)
        projected = unit(query[2](z[i]))
        scores = [(c == k, float(projected @ p) / temperature) for k, _, p in keys]
        total = math.log(sum(math.exp(s) for _, s in scores))
        positive = [s - total for same, s in scores if same]
        ccl -= sum(positive) / len(positive) / len(y)
    return cce, ccl


HEADS = {
    "linear": (None, lambda head: (head.weight, head.bias)),
    "bridged": (BridgedHead, lambda head: (head.fc.weight - head.bridge.weight, head.fc.bias - head.bridge.bias)),
    "own": (partial(DomainHeads, target_classes=3), lambda head: (head.target.weight, head.target.bias)),
}


@pytest.mark.parametrize("name", HEADS)
def test_equals_loops_over_the_rows_and_the_keys_of_two_batches(name):
    head, parameters = HEADS[name]
    net = Net(head=head)
    term, start = make(net), copy.deepcopy(net)
    moved(net)
    first, second = make_step(), make_step()
    batch = {n: s._replace(x=s.x + 1) for n, s in second.batch.items()}
    second = second._replace(batch=batch, net=net)
    with torch.no_grad():
        for p in term.projector.parameters():
            p.add_(0.3)
    momentum = 0.0  # the key network is then the network itself
    term.momentum = momentum
    term(first._replace(net=net))
    value = term(second)
    rows = second.streams["labeled"]
    seen = [(step.batch["labeled_twin"].x, rows.y) for step in (first, second)]
    weights = torch.cat([parameters(net.head)[0], parameters(net.head)[1][:, None]], dim=1).detach()
    with torch.no_grad():
        cce, ccl = naive((rows.z, rows.y, term.projector), (net, term.projector), seen, weights, T)
    assert_close(value.detach(), torch.tensor(cce + ccl, dtype=torch.float64))
    assert_close(term.measures["cce"], torch.tensor(cce, dtype=torch.float64))
    assert cce > 0.1
    assert ccl > 0.1
    assert start is not net


def test_the_key_network_is_a_moving_average_of_the_network_and_of_its_statistics():
    backbone = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
    backbone.out_dim = 5
    from da.models.network import Network

    net = Network(backbone, 5, 3).double()
    term, start = make(net, momentum=0.75), copy.deepcopy(net.state_dict())
    moved(net)
    net.backbone[1].running_mean.fill_(2.0)
    net.backbone[1].num_batches_tracked.fill_(8)
    term(make_step()._replace(net=net))
    for key, now in net.state_dict().items():
        expected = 0.75 * start[key] + 0.25 * now if now.is_floating_point() else now
        assert_close(term.key_net.module.state_dict()[key], expected)
    assert not any(module.training for module in term.key_net.modules())


def test_in_evaluation_mode_nothing_is_written_and_an_empty_queue_gives_only_zeros():
    net = Net()
    term = make(net).eval()
    before = copy.deepcopy(term.state_dict())
    moved(net)
    step = make_step()._replace(net=net)
    step.streams["labeled"].z.requires_grad_()
    value = term(step)
    value.backward()
    assert value == 0
    assert step.streams["labeled"].z.grad.abs().max() == 0
    assert_close(term.state_dict(), before, rtol=0, atol=0)


def test_gradients_reach_the_rows_and_the_projector_and_nothing_else():
    net = moved(Net())
    term, step = make(net), make_step()._replace(net=net)
    twin, rows = step.batch["labeled_twin"].x.requires_grad_(), step.streams["labeled"].z.requires_grad_()
    term(step).backward()
    assert twin.grad is None
    assert rows.grad.abs().max() > 0
    assert term.projector.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in net.parameters())
    trained = {name for name, p in term.named_parameters() if p.requires_grad}
    assert trained == {"projector.weight", "projector.bias"}


def test_the_gradient_is_that_of_the_value_with_the_keys_held_constant():
    net = moved(Net())
    term, step = make(net), make_step()._replace(net=net)
    term(step)
    term.eval()  # keys and queue stay

    def loss(z):
        return term(step._replace(streams={"labeled": step.streams["labeled"]._replace(z=z)}))

    assert torch.autograd.gradcheck(loss, step.streams["labeled"].z.clone().requires_grad_())


def test_one_class_and_equal_rows_give_the_logarithm_of_their_number():
    net = Net()
    term, step = make(net), make_step()._replace(net=net)
    n = len(step.streams["labeled"].y)
    with torch.no_grad():
        x = step.batch["labeled_twin"].x * 0 + 1
        z = net(x)[0]
    rows = step.streams["labeled"]._replace(z=z, y=torch.zeros(n, dtype=torch.long))
    batch = step.batch | {"labeled_twin": step.batch["labeled_twin"]._replace(x=x)}
    value = term(step._replace(streams={"labeled": rows}, batch=batch))
    # every score is the same, and all are positive: uniform over n keys and the row, and over n keys
    assert_close(value.detach(), torch.tensor(math.log(n + 1) + math.log(n), dtype=torch.float64))


def test_contrast_of_two_columns_is_the_logistic_loss():
    scores = normal(4, 3)
    positive = torch.tensor([[True, False, False]]).expand(4, 3)
    there = torch.tensor([True, True, False])
    expected = F.softplus((scores[:, 1] - scores[:, 0]) / T).mean()
    assert_close(contrast(scores, positive, there, T), expected)


def test_the_rows_themselves_may_be_the_keys():
    term = make(Net(), keys="labeled")
    assert term.streams == {"labeled"}
    assert term.constant_streams == frozenset()
    assert term(make_step()).isfinite()


def test_a_resumed_term_goes_on_as_the_first():
    net = Net()
    term, again = make(net), make(moved(Net()))
    term(make_step()._replace(net=moved(net)))
    again.load_state_dict(term.state_dict())
    step = make_step()._replace(net=net)
    assert_close(again(step), term(step), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive.*got temperature=0.0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"capacity": 0}, "capacity=0"),
        ({"stream": "target"}, "stream=target has no labels: expected one of source, labeled, oracle"),
        ({"keys": "target"}, "keys=target are of other rows than stream=labeled: take labeled or labeled_twin"),
    ],
)
def test_options_are_checked_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        BiTuning(5, **options)


def test_needs_a_key_network_and_a_linear_classifier():
    with pytest.raises(ValueError, match="BiTuning has no key network before prepare"):
        BiTuning(5)(make_step())
    with pytest.raises(ValueError, match="BiTuning needs a linear classifier, but net.head is a Sequential"):
        BiTuning(5).prepare(Net(head=lambda i, o: nn.Sequential(nn.Linear(i, 4), nn.ReLU(), nn.Linear(4, o))))
