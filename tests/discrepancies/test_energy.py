"""The energy distance against closed forms, scipy and the double sum."""

import pytest
import torch
from conftest import normal
from scipy.stats import energy_distance as scipy_energy_distance
from torch.testing import assert_close

from da.discrepancies.energy import Energy, energy_distance


def naive_energy(x, y):
    def mean_distance(a, b):
        return sum((p - q).norm() for p in a for q in b) / (len(a) * len(b))

    return 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)


def test_energy_equals_the_double_sum():
    x, y = normal(7, 3), normal(5, 3, seed=1) + 1
    assert_close(energy_distance(x, y), naive_energy(x, y))


def test_energy_on_a_line_is_twice_the_squared_distance_of_the_distribution_functions():
    x, y = normal(40, 1), 2 * normal(31, 1, seed=1) + 0.5
    root = scipy_energy_distance(x[:, 0].numpy(), y[:, 0].numpy())  # its square root
    assert_close(energy_distance(x, y), torch.tensor(root**2))


def test_energy_of_two_points_is_twice_their_distance_and_pulls_with_slope_two():
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[3.0, 4.0]], dtype=torch.float64).requires_grad_()
    value = energy_distance(x, y)
    value.backward()
    assert_close(value.detach(), torch.tensor(10.0, dtype=torch.float64))
    assert_close(y.grad, torch.tensor([[1.2, 1.6]], dtype=torch.float64))


def test_energy_doubles_with_the_features(clouds):
    x, y = clouds
    assert_close(energy_distance(2 * x, 2 * y), 2 * energy_distance(x, y))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_rows_that_coincide_give_the_gradient_of_the_others(scale):
    x = scale * torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    y = (scale * torch.tensor([[0.0, 0.0], [0.0, 2.0]])).requires_grad_()
    energy_distance(x, y).backward()
    # Downhill, y_0, which is at x_0, goes to x_1 and away from y_1, with 2/4 of a unit vector each.
    assert_close(y.grad[0], torch.tensor([-0.5, 0.5]), atol=0, rtol=1e-4)  # float32, and differences of squares


@pytest.mark.parametrize("chunk_rows", [1, 7, 1000])
def test_blocks_of_rows_change_neither_value_nor_gradient(clouds, chunk_rows):
    gradients = []
    for rows in (None, chunk_rows):
        x, y = (cloud.clone().requires_grad_() for cloud in clouds)
        value = Energy(rows)(x, y)
        gradients.append((value.detach(), *torch.autograd.grad(value, (x, y))))
    assert_close(*gradients)


def test_energy_refuses_blocks_of_no_rows():
    with pytest.raises(ValueError, match="chunk_rows must be 1 or more, or null, got 0"):
        Energy(0)
