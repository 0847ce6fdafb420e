"""DeepJDOT against closed forms, all permutations, and its double sum."""

from itertools import permutations

import pytest
import torch
from conftest import normal
from processes import on_processes
from torch.testing import assert_close

from da.discrepancies.deep_jdot import DeepJdot
from da.discrepancies.exact_transport import optimal_plan
from da.discrepancies.sinkhorn import entropic_plan

SOLVERS = ["exact", "sinkhorn"]


def one_hot(n, c=3):
    return torch.eye(c, dtype=torch.float64)[torch.arange(n) % c]


def naive_cost(z_s, p_s, z_t, logits_t, alpha, lambda_t):
    """Squared distance of the features and cross-entropy of the prediction under the label, pair by pair."""

    def pair(i, j):
        p_t = logits_t[j].exp() / logits_t[j].exp().sum()
        return alpha * (z_s[i] - z_t[j]).square().sum() - lambda_t * (p_s[i] * p_t.log()).sum()

    return torch.stack([torch.stack([pair(i, j) for j in range(len(z_t))]) for i in range(len(z_s))])


@pytest.fixture
def batch():
    return normal(6, 4), one_hot(6), 1.5 * normal(6, 4, seed=1) + 0.5, 2 * normal(6, 3, seed=2)


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_row_each_costs_its_distance_and_its_cross_entropy(solver):
    z_s, z_t, logits_t = normal(1, 4), normal(1, 4, seed=1), normal(1, 3, seed=2)
    value = DeepJdot(0.5, 2.0, solver)(z_s, one_hot(1), z_t, logits_t)
    expected = 0.5 * (z_s - z_t).square().sum() + 2 * torch.nn.functional.cross_entropy(logits_t, torch.tensor([0]))
    assert_close(value, expected)


def test_is_the_cheapest_of_all_permutations(batch):
    cost = naive_cost(*batch, 0.5, 2.0)
    cheapest = min(sum(cost[i, j] for i, j in enumerate(order)) for order in permutations(range(6)))
    assert_close(DeepJdot(0.5, 2.0)(*batch), cheapest / 6)


def test_the_labels_decide_between_rows_equally_near():
    """Every distance is 1, so the plan couples each target row to the source row of its predicted class."""
    z_s = torch.tensor([[0.0], [0.0]], dtype=torch.float64)
    z_t, logits_t = torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([[-3.0, 3.0], [3.0, -3.0]]).double()
    right = -torch.tensor([3.0, -3.0]).double().log_softmax(dim=0)[0]
    assert_close(DeepJdot(0.5, 2.0)(z_s, one_hot(2, 2), z_t, logits_t), 0.5 + 2 * right)


def test_sinkhorn_takes_the_plan_of_pot(batch):
    ot = pytest.importorskip("ot")
    cost = naive_cost(*batch, 0.5, 2.0)
    plan = ot.sinkhorn([], [], cost.numpy(), 0.2 * float(cost.mean()), numItermax=100_000, stopThr=1e-14)
    value = DeepJdot(0.5, 2.0, "sinkhorn", epsilon=0.2, num_iterations=1000)(*batch)
    assert_close(value, (torch.from_numpy(plan) * cost).sum())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("m", [4, 6, 9])
def test_the_gradient_is_that_of_the_double_sum_with_the_plan_held_constant(solver, m):
    z_s, p_s = normal(6, 4).requires_grad_(), one_hot(6)
    z_t, logits_t = normal(m, 4, seed=1).requires_grad_(), normal(m, 3, seed=2).requires_grad_()
    leaves = z_s, z_t, logits_t
    cost = naive_cost(z_s, p_s, z_t, logits_t, 0.5, 2.0)
    plan = optimal_plan(cost) if solver == "exact" else entropic_plan(cost, 0.1, 100)
    expected = torch.autograd.grad((plan * cost).sum(), leaves)
    assert_close(torch.autograd.grad(DeepJdot(0.5, 2.0, solver)(z_s, p_s, z_t, logits_t), leaves), expected)


def test_the_gradient_of_exact_transport_matches_finite_differences(batch):
    z_s, p_s, z_t, logits_t = batch
    leaves = z_s[:5].requires_grad_(), z_t[:4].requires_grad_(), logits_t[:4].requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b, c: DeepJdot(0.5, 2.0)(a, p_s[:5], b, c), leaves)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("alpha", "lambda_t"), [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_alpha_moves_the_features_and_lambda_moves_the_logits(solver, alpha, lambda_t, batch):
    z_s, p_s, z_t, logits_t = (tensor.requires_grad_() for tensor in batch)
    DeepJdot(alpha, lambda_t, solver)(z_s, p_s, z_t, logits_t).backward()
    assert (z_s.grad.norm() > 1e-3) == (alpha > 0)
    assert (z_t.grad.norm() > 1e-3) == (alpha > 0)
    assert (logits_t.grad.norm() > 1e-3) == (lambda_t > 0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e5])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (2, 5)])
def test_stays_finite_at_every_scale(solver, scale, n, m):
    z_s, z_t, logits_t = (
        (scale * normal(*shape, seed=seed, dtype=torch.float32)).requires_grad_()
        for seed, shape in enumerate([(n, 4), (m, 4), (m, 3)])
    )
    value = DeepJdot(1.0, 1.0, solver)(z_s, one_hot(n).float(), z_t, logits_t)
    value.backward()
    assert value.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in (z_s, z_t, logits_t))


def compiled(rank, world):
    found = []
    for solver in SOLVERS:
        module, gradients = DeepJdot(0.5, 2.0, solver), []
        for function in (module, torch.compile(module, backend="aot_eager")):
            z_t, logits_t = normal(9, 4, seed=1).requires_grad_(), normal(9, 3, seed=2).requires_grad_()
            function(normal(12, 4), one_hot(12), z_t, logits_t).backward()
            gradients.append((z_t.grad, logits_t.grad))
        found.append(gradients)
    return found


def test_can_be_compiled():
    for eager, traced in on_processes(1, compiled, fresh=True)[0]:  # where no shapes are checked
        assert_close(traced, eager)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "simplex"}, "solver must be exact or sinkhorn, got 'simplex'"),
        ({"alpha": -1.0}, "alpha and lambda_t must be 0 or more, one of them positive, got -1.0 and 0.0001"),
        ({"alpha": 0.0, "lambda_t": 0.0}, "one of them positive, got 0.0 and 0.0"),
        ({"epsilon": 0.0}, "epsilon must be positive .* got 0.0"),
        ({"num_iterations": 0}, "num_iterations must be 1 or more, got 0"),
    ],
)
def test_refuses_what_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        DeepJdot(**options)
