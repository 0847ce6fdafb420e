"""Fusion operators against loops over rows and positions."""

import math
import re

import pytest
import torch
from conftest import config, normal, options
from torch.testing import assert_close

from da.build import build
from da.models.fusion_operators import (
    Attention,
    Concatenation,
    Conv1x1,
    Film,
    FusionOperator,
    Gate,
    Pointwise,
    ResidualAdapter,
    Sum,
)

OPERATORS = {
    "sum": Sum,
    "concatenation": Concatenation,
    "gate": Gate,
    "attention": Attention,
    "conv1x1": Conv1x1,
    "film": Film,
    "residual_adapter": ResidualAdapter,
}
SHAPES = [(4, 4), (4, 3), (3, 5)]
POSITIONS = [(), (2, 3)]


def made(name, d1, d2, seed=0, trained=True):
    """An operator in double precision; `trained` moves every parameter away from its start."""
    torch.manual_seed(seed)
    operator = OPERATORS[name](d1, d2).double()
    if trained:
        with torch.no_grad():
            for i, p in enumerate(operator.parameters()):
                p.add_(normal(*p.shape, seed=20 + i))
    return operator


def clouds(d1, d2, positions=(), n=6):
    return normal(n, d1, *positions), normal(n, d2, *positions, seed=1)


def projected(operator, b):
    return operator.project.weight @ b if isinstance(operator.project, Pointwise) else b


def by_hand(name, operator, a, b):
    """F of one row at one position, from a [d1] and b [d2]."""
    if name == "concatenation":
        return torch.cat([a, b])
    if name == "conv1x1":
        d1 = len(a)
        return operator.mix.weight[:, :d1] @ a + operator.mix.weight[:, d1:] @ b + operator.mix.bias
    if name == "film":
        moved = operator.modulate.weight @ b + operator.modulate.bias
        return (1 + moved[: len(a)]) * a + moved[len(a) :]
    if name == "residual_adapter":
        down, _, up = operator.adapter
        return a + up.weight @ (down.weight @ b + down.bias).clamp(min=0) + up.bias
    b = projected(operator, b)
    if name == "sum":
        return a + b
    if name == "gate":
        g = 1 / (1 + (-(operator.gate.weight @ torch.cat([a, b]) + operator.gate.bias)).exp())
        return g * a + (1 - g) * b
    score = (operator.score.weight @ torch.cat([a, b]) + operator.score.bias).exp()
    return (score[0] * a + score[1] * b) / score.sum()


def test_every_operator_is_a_choice_and_builds_with_the_widths_inferred():
    assert set(options("net/fusion")) == set(OPERATORS)
    for name, cls in OPERATORS.items():
        cfg = config("data=digits_demo", "net=branches", f"net/fusion={name}")
        operator = build(cfg.net.backbone.fusion, "fusion", d1=4, d2=3)
        assert type(operator) is cls
        assert (cfg.net.backbone.trained is None) == (name == "residual_adapter")


@pytest.mark.parametrize("positions", POSITIONS, ids=["vectors", "maps"])
@pytest.mark.parametrize(("d1", "d2"), SHAPES)
@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "film"])
def test_f_is_the_equation_at_every_row_and_position(name, d1, d2, positions):
    operator, (f1, f2) = made(name, d1, d2), clouds(d1, d2, positions)
    fused = operator(f1, f2)
    assert fused.shape == (6, operator.out_dim, *positions)
    assert operator.out_dim == (d1 + d2 if name == "concatenation" else d1)
    at = [(), *[(i, j) for i in range(2) for j in range(3)]][1 if positions else 0 :][: 6 if positions else 1]
    for row in range(6):
        for where in at:
            index = (row, slice(None), *where)
            assert_close(fused[index], by_hand(name, operator, f1[index], f2[index]))


@pytest.mark.parametrize(("d1", "d2"), SHAPES)
def test_film_scales_and_shifts_a_channel_at_all_positions_by_the_mean_of_f2(d1, d2):
    operator, (f1, f2) = made("film", d1, d2), clouds(d1, d2, (2, 3))
    mean = torch.stack([f2[:, :, i, j] for i in range(2) for j in range(3)]).sum(dim=0) / 6
    assert_close(operator(f1, f2), operator(f1, mean))  # F2 may be a vector beside a map
    for row in range(6):
        for i in range(2):
            for j in range(3):
                assert_close(operator(f1, f2)[row, :, i, j], by_hand("film", operator, f1[row, :, i, j], mean[row]))
    vectors = clouds(d1, d2)
    assert_close(operator(*vectors)[2], by_hand("film", operator, vectors[0][2], vectors[1][2]))


@pytest.mark.parametrize("positions", POSITIONS, ids=["vectors", "maps"])
@pytest.mark.parametrize("name", ["conv1x1", "film", "residual_adapter"])
def test_three_operators_start_as_f1_itself(name, positions):
    f1, f2 = clouds(4, 3, positions)
    assert_close(made(name, 4, 3, trained=False)(f1, f2), f1, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["gate", "attention"])
def test_two_operators_start_with_nine_tenths_of_f1(name):
    f1, f2 = clouds(4, 4)
    assert_close(made(name, 4, 4, trained=False)(f1, f2), 0.9 * f1 + 0.1 * f2)
    assert_close(OPERATORS[name](4, 4, start=0.25).double()(f1, f2), 0.25 * f1 + 0.75 * f2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["conv1x1", "film", "residual_adapter"])
def test_what_starts_at_f1_is_moved_by_the_first_step(name):
    operator, (f1, f2) = made(name, 4, 3, trained=False), clouds(4, 3)
    (operator(f1, f2) * normal(6, 4, seed=7)).sum().backward()
    torch.optim.SGD(operator.parameters(), lr=0.1).step()
    assert (operator(f1, f2) - f1).abs().max() > 1e-3


def test_a_sum_of_equal_widths_learns_nothing_itself():
    assert list(Sum(4, 4).parameters()) == []
    assert sum(p.numel() for p in Sum(4, 3).parameters()) == 12


def test_a_linear_map_of_channels_is_a_1x1_convolution():
    layer, x = Pointwise(3, 5).double(), normal(2, 3, 4, 6)
    expected = torch.nn.functional.conv2d(x, layer.weight[:, :, None, None], layer.bias)
    assert_close(layer(x), expected)


@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_are_right(name):
    operator = made(name, 3, 2)
    assert torch.autograd.gradcheck(operator, tuple(x.requires_grad_() for x in clouds(3, 2, (2, 2), n=2)))


@pytest.mark.parametrize(("second", "where"), [((6, 3, 4, 4), (2, 2)), ((6, 5, 2, 2), (2, 2)), ((6, 3), (2, 2))])
@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "film"])
def test_shapes_that_do_not_fit_are_named(name, second, where):
    operator, given = made(name, 4, 3), re.escape(f"got F1 [6, 4, 2, 2] and F2 {list(second)}")
    with pytest.raises(ValueError, match=f"{type(operator).__name__} fuses .* at the same positions, {given}"):
        operator(normal(6, 4, *where), normal(*second))


def test_film_refuses_another_width():
    with pytest.raises(ValueError, match=r"Film fuses \[n, 4, ...\] and \[n, 3, ...\]"):
        Film(4, 3)(normal(6, 4, dtype=torch.float32), normal(6, 4, dtype=torch.float32))


@pytest.mark.parametrize("start", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_a_share_is_between_0_and_1(start):
    for cls in (Gate, Attention):
        with pytest.raises(ValueError, match=f"start={start}"):
            cls(4, 4, start=start)


def test_a_reduction_is_positive_and_leaves_one_channel():
    assert ResidualAdapter(3, 3).adapter[0].out_features == 1
    with pytest.raises(ValueError, match="reduction=0 must be at least 1"):
        ResidualAdapter(4, 4, reduction=0)


def test_an_operator_says_its_own_width():
    assert issubclass(Sum, FusionOperator)
    assert {name: cls(4, 3).out_dim for name, cls in OPERATORS.items()} == {
        **dict.fromkeys(OPERATORS, 4),
        "concatenation": 7,
    }
