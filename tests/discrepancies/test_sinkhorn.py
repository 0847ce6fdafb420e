"""The Sinkhorn divergence against closed forms, the primal problem written out, and POT."""

import math

import pytest
import torch
from conftest import normal
from torch.testing import assert_close

from da.discrepancies.linear import mean_distance
from da.discrepancies.sinkhorn import Sinkhorn, entropic_plan, sinkhorn_divergence

MANY = 1000  # steps, to leave nothing but rounding


def distances(x, y, p=2.0):
    return torch.stack([torch.stack([(a - b).norm() ** p for b in y]) for a in x])


def kl(p, q):
    return (torch.xlogy(p, p / q) - p + q).sum()


def primal(cost, plan, epsilon, rho=None):
    """The value of a plan: <P, C> + eps KL(P | 1/nm), and rho KL of both marginals if they are free."""
    n, m = cost.shape
    value = (plan * cost).sum() + epsilon * kl(plan, torch.full_like(plan, 1 / (n * m)))
    if rho is not None:
        value = value + rho * kl(plan.sum(1), torch.full_like(plan[:, 0], 1 / n))
        value = value + rho * kl(plan.sum(0), torch.full_like(plan[0], 1 / m))
    return value


def naive_plan(cost, epsilon, rho=None):
    """Sinkhorn's algorithm as it was published: the scalings u and v in turn, number by number."""
    n, m = cost.shape
    kernel = [[math.exp(-float(cost[i, j]) / epsilon) / (n * m) for j in range(m)] for i in range(n)]
    power = 1.0 if rho is None else rho / (rho + epsilon)
    u, v = [1.0] * n, [1.0] * m
    for _ in range(3000):
        u = [(1 / n / sum(kernel[i][j] * v[j] for j in range(m))) ** power for i in range(n)]
        v = [(1 / m / sum(kernel[i][j] * u[i] for i in range(n))) ** power for j in range(m)]
    return torch.tensor([[u[i] * kernel[i][j] * v[j] for j in range(m)] for i in range(n)], dtype=cost.dtype)


def debiased(x, y, p, plan, epsilon, rho=None):
    def value(a, b):
        cost = distances(a, b, p)
        return primal(cost, plan(cost), epsilon, rho)

    return value(x, y) - (value(x, x) + value(y, y)) / 2


@pytest.mark.parametrize("epsilon", [0.05, 0.2, 5.0])
def test_a_shift_costs_its_square_at_every_epsilon(epsilon):
    x, move = normal(12, 3), normal(3, seed=7)
    assert_close(Sinkhorn(epsilon, num_iterations=MANY)(x, x + move), move @ move)


def test_with_much_blur_it_is_the_distance_of_the_means():
    x, y = normal(9, 3), 2 * normal(7, 3, seed=1) + 0.5
    # What is left is of the order of scale / epsilon.
    assert_close(sinkhorn_divergence(x, y, epsilon=1e6), mean_distance(x, y), rtol=1e-4, atol=0)


def test_with_little_blur_it_is_the_exact_transport_of_points_far_apart():
    x = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]], dtype=torch.float64)
    move = torch.tensor([[1.0, 0.0], [0.0, -1.0], [2.0, 1.0]], dtype=torch.float64)
    value = sinkhorn_divergence(x, (x + move).flip(0), epsilon=1.0, scale=1.0, num_iterations=MANY)
    assert_close(value, move.square().sum() / 3)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("rho", [None, 0.7])
def test_equals_the_primal_problem_solved_number_by_number(p, rho):
    x, y, epsilon = normal(7, 3), 1.5 * normal(5, 3, seed=1) + 0.5, 1.2
    expected = debiased(x, y, p, lambda cost: naive_plan(cost, epsilon, rho), epsilon, rho)
    reach = None if rho is None else rho ** (1 / p)
    assert_close(sinkhorn_divergence(x, y, epsilon, reach, p, MANY, scale=1.0), expected)


def test_equals_pot():
    ot = pytest.importorskip("ot")
    x, y, epsilon = normal(20, 3), 1.5 * normal(14, 3, seed=1) + 0.5, 0.8

    def plan(cost):
        return torch.from_numpy(ot.sinkhorn([], [], cost.numpy(), epsilon, numItermax=100_000, stopThr=1e-14))

    assert_close(
        sinkhorn_divergence(x, y, epsilon, num_iterations=2 * MANY, scale=1.0), debiased(x, y, 2.0, plan, epsilon)
    )


def test_unbalanced_equals_pot():
    ot = pytest.importorskip("ot")
    x, y, epsilon, rho = normal(20, 3), 1.5 * normal(14, 3, seed=1) + 0.5, 0.8, 2.0

    def plan(cost):
        n, m = cost.shape
        a, b = torch.full((n,), 1 / n).double().numpy(), torch.full((m,), 1 / m).double().numpy()
        found = ot.unbalanced.sinkhorn_unbalanced(a, b, cost.numpy(), epsilon, rho, numItermax=100_000, stopThr=1e-14)
        return torch.from_numpy(found)

    expected = debiased(x, y, 2.0, plan, epsilon, rho)
    assert_close(sinkhorn_divergence(x, y, epsilon, rho**0.5, num_iterations=MANY, scale=1.0), expected)


@pytest.mark.parametrize("distance", [0.5, 3.0, 100.0])
def test_two_points_move_as_much_mass_as_is_worth_it(distance):
    """With mass q the cost is q c + (eps + 2 rho)(q log q - q + 1), least at q = exp(-c / (eps + 2 rho))."""
    x, epsilon, reach = normal(1, 2), 0.5, 1.5
    total = epsilon + 2 * reach**2
    y = x + torch.tensor([distance, 0.0], dtype=x.dtype)
    expected = torch.tensor(total * (1 - math.exp(-(distance**2) / total)), dtype=x.dtype)
    assert_close(sinkhorn_divergence(x, y, epsilon, reach, num_iterations=MANY, scale=1.0), expected)


def test_a_far_row_pulls_only_when_all_mass_must_move():
    x, y = normal(9, 2), normal(9, 2, seed=1)
    y[0] = 50.0
    y.requires_grad_()

    def pull(reach):
        return torch.autograd.grad(sinkhorn_divergence(x, y, 0.5, reach, scale=4.0), y)[0][0].norm()

    assert pull(None) > 1
    assert pull(2.0) < 1e-6


def test_an_endless_reach_conserves_the_mass(clouds):
    expected = sinkhorn_divergence(*clouds, num_iterations=MANY)
    # What is left is of the order of scale / reach^2.
    assert_close(sinkhorn_divergence(*clouds, reach=1e4, num_iterations=MANY), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("reach", [None, 1.0])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_scales_like_the_cost_when_the_settings_are_relative(clouds, reach, p):
    x, y = clouds
    value = sinkhorn_divergence(x, y, reach=reach, p=p)
    assert_close(sinkhorn_divergence(1e3 * x, 1e3 * y, reach=reach, p=p), 1e3**p * value)


@pytest.mark.parametrize("reach", [None, 1.0])
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_the_gradient_matches_finite_differences_at_a_fixed_scale(reach, p):
    x, y = normal(4, 2).requires_grad_(), (1.5 * normal(3, 2, seed=1) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(Sinkhorn(0.3, reach, p, num_iterations=200, scale=8.0), (x, y))


def test_the_gradient_is_the_pull_of_the_plans():
    x, y, epsilon = normal(7, 3).requires_grad_(), 1.5 * normal(5, 3, seed=1) + 0.5, 1.2
    (gradient,) = torch.autograd.grad(sinkhorn_divergence(x, y, epsilon, num_iterations=MANY, scale=1.0), x)
    a = x.detach()
    between, within = naive_plan(distances(a, y), epsilon), naive_plan(distances(a, a), epsilon)
    pulls = [
        sum(2 * between[i, j] * (a[i] - y[j]) for j in range(5))
        - sum(2 * within[i, k] * (a[i] - a[k]) for k in range(7))  # half, and twice, because row i is on both sides
        for i in range(7)
    ]
    assert_close(gradient, torch.stack(pulls))


def test_the_scale_taken_from_the_data_is_the_mean_cost_held_constant(clouds):
    x, y = clouds[0].requires_grad_(), clouds[1]
    scale = float(distances(x.detach(), y).mean())
    relative, fixed = sinkhorn_divergence(x, y), sinkhorn_divergence(x, y, scale=scale)
    assert_close(relative, fixed)
    assert_close(torch.autograd.grad(relative, x), torch.autograd.grad(fixed, x))


@pytest.mark.parametrize("p", [1.0, 1.5])
def test_the_gradient_is_finite_where_rows_coincide(p):
    x = normal(6, 3, dtype=torch.float32).requires_grad_()
    Sinkhorn(p=p)(x, torch.cat([x, x]).detach()).backward()
    assert x.grad.isfinite().all()


def test_the_default_steps_leave_less_than_the_documented_error(clouds):
    x, y = clouds[0], 1.5 * clouds[1] + 0.5
    scale = float(distances(x, y).mean())
    error = sinkhorn_divergence(x, y) - sinkhorn_divergence(x, y, num_iterations=5 * MANY)
    assert abs(error) < 1e-6 * scale
    plan = entropic_plan(distances(x, y), 0.1, 100)
    assert (plan.sum(1) - 1 / 24).abs().sum() < 1e-3
    assert (plan.sum(0) - 1 / 17).abs().sum() < 1e-3


def test_the_plan_is_that_of_the_published_algorithm():
    cost = distances(normal(7, 3), normal(5, 3, seed=1) + 0.5)
    assert_close(entropic_plan(cost, 0.3, MANY), naive_plan(cost, 0.3 * float(cost.mean())))


@pytest.mark.parametrize(
    ("option", "value"), [("epsilon", 0.0), ("reach", 0.0), ("p", 0.5), ("num_iterations", 0), ("scale", -1.0)]
)
def test_refuses_what_makes_no_sense(option, value):
    with pytest.raises(ValueError, match=f"{option} must be .* got {value}"):
        Sinkhorn(**{option: value})
