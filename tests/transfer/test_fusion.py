"""Networks made of others: what linear networks tell in closed form, end points, and what does not fit."""

import copy

import pytest
import torch
from conftest import normal
from torch import nn
from torch.testing import assert_close

from da.transfer.fusion import add_tasks, fuse, greedy_soup


def network(seed, width=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
        net = nn.ModuleDict({"body": body, "body2": nn.Linear(3, 2), "head": nn.Linear(width, 2)})
        body(torch.randn(5 + seed, 3))
    return net.state_dict()


def linear(state, x):
    return x @ state["body.0.weight"].T + state["body.0.bias"]


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.3, 1.0])
def test_a_mix_of_linear_layers_computes_the_mix_of_their_outputs(alpha):
    a, b, x = network(0), network(1), normal(7, 3, dtype=torch.float32)
    fused = fuse([a, b], [alpha, 1 - alpha])
    assert_close(linear(fused, x), alpha * linear(a, x) + (1 - alpha) * linear(b, x))


def test_the_end_points_are_the_networks_bit_for_bit_and_no_views_of_them():
    a, b = network(0), network(1)
    b["head.bias"][0] = torch.inf  # 0 times it would be no number
    fused = fuse([a, b], [1, 0])
    assert all(torch.equal(fused[key], a[key]) for key in a)
    assert {v.data_ptr() for v in fused.values()}.isdisjoint(v.data_ptr() for v in a.values())
    assert all(torch.equal(value, b[key]) for key, value in fuse([a, b], [0, 1]).items())


def test_a_soup_of_one_network_is_that_network():
    a = network(0)
    for soup in (fuse([a], [1.0]), fuse([a, a, a], [1 / 3] * 3), greedy_soup([a, a], lambda _: 0.0)[0]):
        assert all(torch.equal(value, a[key]) for key, value in soup.items())


def test_groups_have_weights_of_their_own_and_the_longest_name_counts():
    a, b = network(0), network(1)
    fused = fuse([a, b], [0.5, 0.5], {"body": [1, 0], "body.1": [0, 1], "head.bias": [0.25, 0.75]})
    assert torch.equal(fused["body.0.weight"], a["body.0.weight"])
    assert torch.equal(fused["body.1.running_mean"], b["body.1.running_mean"])
    assert_close(fused["body2.weight"], (a["body2.weight"] + b["body2.weight"]) / 2)  # which is not below "body"
    assert_close(fused["head.bias"], 0.25 * a["head.bias"] + 0.75 * b["head.bias"])
    assert_close(fused["head.weight"], (a["head.weight"] + b["head.weight"]) / 2)


def test_counters_are_those_of_the_largest_weight_and_half_precision_sums_in_double():
    a, b = network(0), network(1)
    b["body.1.num_batches_tracked"] += 7
    assert fuse([a, b], [0.4, 0.6])["body.1.num_batches_tracked"] == 8
    small = {"w": torch.full((1,), 0.1, dtype=torch.float16)}
    mean = fuse([small] * 1000, [1e-3] * 1000)["w"]  # in float16 the sum would stop growing
    assert mean.dtype == torch.float16
    assert mean == small["w"]


def test_task_vectors_are_added_to_the_base():
    base, a, b = network(0), network(1), network(2)
    key = "head.weight"
    assert_close(add_tasks(base, [a, b], 0.3)[key], base[key] + 0.3 * (a[key] - base[key] + b[key] - base[key]))
    assert_close(add_tasks(base, [a], 1.0)[key], a[key])
    assert torch.equal(add_tasks(base, [a, b], 0.0)[key], base[key])


def test_a_greedy_soup_keeps_what_does_not_lower_its_score():
    values = [torch.tensor([v]) for v in (3.0, 1.0, -1.0, 9.0)]
    states = [{"w": value} for value in values]
    best, kept = greedy_soup(states, lambda state: -abs(float(state["w"]) - 1.5))  # 1, then 3 (mean 2), then -1: 1
    assert kept == [1, 0, 2]
    assert best["w"] == 1.0
    assert greedy_soup(states[:1], lambda state: 0.0)[1] == [0]


@pytest.mark.parametrize(
    ("weights", "groups", "message"),
    [
        ([1.0], None, r"the network has the weights \[1.0\]: expected 2 numbers"),
        ([float("nan"), 1.0], None, "expected 2 numbers"),
        ([0.5, 0.5], {"hed": [1, 0]}, "no parameter lies below 'hed'; there are body, body2, head"),
        ([0.5, 0.5], {"head": [1]}, r"head has the weights \[1\]: expected 2 numbers"),
    ],
)
def test_wrong_weights_are_named(weights, groups, message):
    with pytest.raises(ValueError, match=message):
        fuse([network(0), network(1)], weights, groups)


def test_what_does_not_fit_is_listed():
    a, wide, less = network(0), network(1, width=6), network(1)
    del less["head.bias"]
    halves = {key: value.half() if value.is_floating_point() else value for key, value in copy.deepcopy(a).items()}
    with pytest.raises(ValueError, match=r"network 2 does not fit network 1: other shape \(7\): body.0.bias \(6,\)"):
        fuse([a, wide], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"network 2 does not fit network 1: missing \(1\): head.bias"):
        fuse([a, less], [0.5, 0.5])
    with pytest.raises(ValueError, match="body.0.weight is torch.float16 in network 2, but torch.float32 in network 1"):
        fuse([a, halves], [0.5, 0.5])
    with pytest.raises(ValueError, match="nothing to fuse"):
        fuse([], [])
