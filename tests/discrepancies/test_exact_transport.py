"""Exact transport against closed forms, all permutations, the linear program and POT."""

from itertools import permutations

import numpy as np
import pytest
import torch
from conftest import normal
from scipy.optimize import linprog
from torch.testing import assert_close

from da.discrepancies import exact_transport
from da.discrepancies.exact_transport import (
    ExactTransport,
    assignment_plan,
    optimal_plan,
    simplex_plan,
    transport_cost,
)


def distances(x, y, p=2.0):
    return torch.stack([torch.stack([(a - b).norm() ** p for b in y]) for a in x])


@pytest.fixture
def without_pot(monkeypatch):
    monkeypatch.setattr(exact_transport, "find_spec", lambda name: None)


def test_a_shift_costs_its_square():
    x, move = normal(12, 3), normal(3, seed=7)
    assert_close(transport_cost(x, x + move), move @ move)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_is_the_cheapest_of_all_permutations(p):
    x, y = normal(6, 3), 1.5 * normal(6, 3, seed=1) + 0.5
    cost = distances(x, y, p)
    cheapest = min(sum(cost[i, j] for i, j in enumerate(order)) for order in permutations(range(6)))
    assert_close(transport_cost(x, y, p), cheapest / 6)


@pytest.mark.parametrize(("n", "m"), [(6, 4), (7, 5), (1, 3), (4, 8)])
@pytest.mark.parametrize("pot", [True, False])
def test_unequal_sizes_solve_the_linear_program(n, m, pot, request):
    if pot:
        pytest.importorskip("ot")
    else:
        request.getfixturevalue("without_pot")
    x, y = normal(n, 3), 1.5 * normal(m, 3, seed=1) + 0.5
    cost = distances(x, y)
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    program = linprog(cost.flatten().numpy(), A_eq=np.concatenate([rows, columns]), b_eq=weights)
    assert_close(float(transport_cost(x, y)), float(program.fun))


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 15)])
def test_equals_pot(n, m):
    ot = pytest.importorskip("ot")
    x, y = normal(n, 4), 1.5 * normal(m, 4, seed=1) + 0.5
    assert_close(float(transport_cost(x, y)), float(ot.emd2([], [], distances(x, y).numpy())))


def test_both_solvers_find_the_same_plan():
    pytest.importorskip("ot")
    cost = distances(normal(12, 3), normal(9, 3, seed=1)).numpy()
    np.testing.assert_allclose(assignment_plan(cost), simplex_plan(cost), atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 4), (7, 5)])
def test_the_plan_gives_every_row_its_weight(n, m):
    plan = optimal_plan(distances(normal(n, 3), normal(m, 3, seed=1)))
    assert (plan >= 0).all()
    assert_close(plan.sum(1), torch.full_like(plan[:, 0], 1 / n))
    assert_close(plan.sum(0), torch.full_like(plan[0], 1 / m))


def test_the_gradient_is_the_pull_of_the_plan():
    x, y = normal(7, 3).requires_grad_(), normal(5, 3, seed=1) + 0.5
    (gradient,) = torch.autograd.grad(transport_cost(x, y), x)
    plan, a = optimal_plan(distances(x.detach(), y)), x.detach()
    assert_close(gradient, torch.stack([sum(2 * plan[i, j] * (a[i] - y[j]) for j in range(5)) for i in range(7)]))


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_the_gradient_matches_finite_differences(p):
    x, y = normal(6, 3).requires_grad_(), (1.5 * normal(4, 3, seed=1) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(ExactTransport(p), (x, y))


@pytest.mark.parametrize("p", [1.0, 1.5])
def test_the_gradient_is_finite_where_rows_coincide(p):
    x = normal(6, 3, dtype=torch.float32).requires_grad_()
    transport_cost(x, torch.cat([x, x]).detach(), p).backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e-8, 1e5])
def test_the_plan_does_not_depend_on_the_unit(scale):
    x, y = normal(9, 3), 1.5 * normal(7, 3, seed=1) + 0.5
    assert_close(transport_cost(scale * x, scale * y) / scale**2, transport_cost(x, y))


def test_sizes_without_a_common_factor_are_refused_where_pot_is_missing(without_pot):
    assert transport_cost(normal(64, 2), normal(48, 2)).isfinite()
    with pytest.raises(ValueError, match="64 to 63 rows is an assignment of 4032 rows, more than 1024.*install POT"):
        transport_cost(normal(64, 2), normal(63, 2))


def test_refuses_features_that_are_not_finite():
    with pytest.raises(ValueError, match="not all finite"):
        transport_cost(normal(4, 2).log(), normal(4, 2))


def test_refuses_what_is_no_distance():
    with pytest.raises(ValueError, match="p must be 1 or more, got 0.5"):
        ExactTransport(p=0.5)
