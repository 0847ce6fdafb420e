"""Sliced and max-sliced Wasserstein distances against closed forms, the definition, POT and SciPy."""

import math

import pytest
import torch
from conftest import normal
from scipy.stats import wasserstein_distance
from torch.testing import assert_close

from da.discrepancies.base import Draws
from da.discrepancies.linear import mean_distance
from da.discrepancies.sliced import (
    MaxSwd,
    Swd,
    max_direction,
    projected_wasserstein,
    quantile_coupling,
    random_directions,
)


def naive_wasserstein(a, b, p):
    """W_p^p of two lists of numbers: each number is repeated until the lists are equally long, then both are sorted."""
    size = math.lcm(len(a), len(b))
    a = sorted(float(number) for number in a for _ in range(size // len(a)))
    b = sorted(float(number) for number in b for _ in range(size // len(b)))
    return sum(abs(first - second) ** p for first, second in zip(a, b, strict=True)) / size


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 4), (7, 5), (1, 4), (3, 12)])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_each_projection_is_the_wasserstein_distance_of_sorted_numbers(n, m, p):
    x, y, directions = normal(n, 3), normal(m, 3, seed=1) + 0.5, normal(2, 3, seed=2)
    naive = torch.tensor([naive_wasserstein(x @ w, y @ w, p) for w in directions], dtype=x.dtype)
    assert_close(projected_wasserstein(x, y, directions, p), naive)


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 4), (7, 5), (1, 4)])
def test_the_coupling_gives_every_row_its_weight(n, m):
    i, j, mass = quantile_coupling(n, m, normal(1))
    assert_close(torch.zeros_like(mass[:n]).index_add(0, i, mass), torch.full_like(mass[:n], 1 / n))
    assert_close(torch.zeros_like(mass[:m]).index_add(0, j, mass), torch.full_like(mass[:m], 1 / m))
    assert (i.diff() >= 0).all()
    assert (j.diff() >= 0).all()


def test_in_one_dimension_swd_is_what_scipy_computes():
    x, y = normal(9, 1), 2 * normal(7, 1, seed=1)
    value = Swd(num_projections=3, p=1.0)(x, y)
    assert_close(float(value), float(wasserstein_distance(x.flatten().numpy(), y.flatten().numpy())))


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_swd_equals_pot_with_the_same_directions(p):
    ot = pytest.importorskip("ot")
    x, y = normal(9, 4), 2 * normal(7, 4, seed=1) + 0.3
    directions = random_directions(Draws(5).eval(), 10, x)
    expected = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=directions.T.numpy(), p=p) ** p
    assert_close(float(Swd(num_projections=10, p=p, seed=5).eval()(x, y)), float(expected))


def test_swd_of_a_shift_is_the_mean_square_of_the_projected_shift():
    x, move = normal(9, 4), normal(4, seed=3)
    directions = random_directions(Draws(0).eval(), 128, x)
    assert_close(Swd().eval()(x, x + move), (directions @ move).square().mean())


def test_directions_are_unit_vectors_the_same_in_every_dtype():
    dtypes = torch.float64, torch.float32
    double, single = (random_directions(Draws(1).eval(), 6, normal(2, 5, dtype=dtype)) for dtype in dtypes)
    assert_close(double.norm(dim=1), torch.ones(6, dtype=torch.float64))
    assert_close(single, double.float(), rtol=0, atol=0)


def test_swd_draws_new_directions_in_training_and_goes_on_after_a_resume():
    x, y = normal(9, 4), normal(7, 4, seed=1)
    swd, resumed = Swd(num_projections=4), Swd(num_projections=4)
    first, saved, second = swd(x, y), swd.state_dict(), swd(x, y)
    assert first != second
    resumed.load_state_dict(saved)
    assert_close(resumed(x, y), second, rtol=0, atol=0)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
def test_the_gradient_of_swd_is_finite_where_rows_coincide(p):
    x = normal(6, 3).requires_grad_()
    Swd(p=p)(x, x.detach().clone()).backward()
    assert_close(x.grad, torch.zeros_like(x))


def test_max_swd_of_a_shift_is_the_squared_shift():
    x, move = normal(9, 4), normal(4, seed=3)
    assert_close(MaxSwd()(x, x + move), move @ move)


def test_max_swd_of_a_doubled_cloud_is_its_largest_variance():
    x = normal(20, 4) * torch.tensor([0.5, 1.0, 3.0, 2.0])
    x = x - x.mean(dim=0)  # of equal means, so only the farthest row is left to start from
    assert_close(MaxSwd(num_steps=200)(x, 2 * x), torch.linalg.eigvalsh(x.T @ x / 20)[-1])


def test_max_swd_of_clouds_on_a_line_is_the_distance_along_it():
    line = torch.nn.functional.normalize(normal(1, 5, seed=4))
    a, b = normal(8, 1), 3 * normal(6, 1, seed=1) + 1
    expected = torch.tensor(naive_wasserstein(a.flatten(), b.flatten(), 2), dtype=a.dtype)
    assert_close(MaxSwd()(a @ line, b @ line), expected)


def test_max_swd_finds_the_best_of_all_directions_in_the_plane():
    x, y = normal(40, 2), normal(30, 2, seed=1) * torch.tensor([1.0, 2.5]) + 0.4
    angles = torch.linspace(0, torch.pi, 20_001, dtype=x.dtype)
    highest = projected_wasserstein(x, y, torch.stack([angles.cos(), angles.sin()], dim=1), 2.0).max()
    # The grid is finer than the last step of an ascent that ends on a kink.
    assert_close(MaxSwd(num_steps=200, step_size=0.3)(x, y), highest, rtol=1e-4, atol=0)


def test_max_swd_never_falls_with_more_steps_nor_below_the_distance_of_the_means(clouds):
    x, y = clouds
    values = [float(MaxSwd(num_steps=steps)(x, y)) for steps in (0, 1, 3, 10, 30)]
    assert values == sorted(values)
    assert values[0] >= mean_distance(x, y)
    assert values[-1] > 1.05 * values[0]


def test_the_gradient_of_max_swd_is_that_of_the_found_direction(clouds):
    x, y = clouds[0][:8].requires_grad_(), (1.5 * clouds[1][:6] + 0.5).requires_grad_()
    direction = max_direction(x, y, 20, 1.0)
    assert torch.autograd.gradcheck(lambda a, b: projected_wasserstein(a, b, direction, 2.0), (x, y))
    found = torch.autograd.grad(MaxSwd()(x, y), (x, y))
    assert_close(found, torch.autograd.grad(projected_wasserstein(x, y, direction, 2.0).sum(), (x, y)))


def test_the_gradient_of_max_swd_at_a_smooth_maximum_is_that_of_the_maximum():
    x, y = (normal(5, 2) * torch.tensor([1.0, 3.0])).requires_grad_(), normal(1, 2, seed=1).requires_grad_()
    # Only one coupling with a single row is possible: W_2^2 is a quadratic form, and its maximum an eigenvalue.
    assert torch.autograd.gradcheck(MaxSwd(num_steps=60), (x, y))


@pytest.mark.parametrize(
    ("module", "option", "value"),
    [
        (Swd, "num_projections", 0),
        (Swd, "p", 0.5),
        (MaxSwd, "num_steps", -1),
        (MaxSwd, "step_size", 0.0),
    ],
)
def test_refuses_what_makes_no_sense(module, option, value):
    with pytest.raises(ValueError, match=f"{option} must be .* got {value}"):
        module(**{option: value})
