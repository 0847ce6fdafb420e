"""CORAL, its variant with the means, and log-CORAL: closed forms, and naive formulas written from the papers."""

import pytest
import torch
from conftest import normal
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from da.discrepancies.coral import Coral, CoralMean, coral, coral_mean
from da.discrepancies.log_coral import LogCoral, log_coral

SHAPES = [(24, 17, 5), (24, 17, 41), (24, 17, 42), (3, 2, 60)]  # on both sides of n + m < d


def logarithm(c):
    values, vectors = torch.linalg.eigh(c)
    return vectors @ torch.diag(values.log()) @ vectors.T


def naive_log_coral(x, y, ridge):
    d = x.shape[1]
    c_s, c_t = torch.cov(x.T), torch.cov(y.T)
    rho = ridge * (c_s.trace() + c_t.trace()) / (2 * d) * torch.eye(d, dtype=x.dtype)
    return (logarithm(c_s + rho) - logarithm(c_t + rho)).square().sum() / (4 * d**2)


def test_coral_of_a_scaled_cloud():
    x = normal(64, 3)  # cov(2x) = 4 cov(x), so the difference is 3 cov(x)
    assert_close(coral(x, 2 * x), 9 * torch.cov(x.T).square().sum() / 36)


@pytest.mark.parametrize("shape", [(64, 3), (8, 30)])
def test_coral_is_blind_to_a_shift_of_the_mean(shape):
    x = normal(*shape)
    assert_close(coral(x, x + 5), x.new_zeros(()), atol=1e-16, rtol=0)


def test_coral_needs_two_rows():
    for module in (Coral(), CoralMean(), LogCoral()):
        with pytest.raises(ValueError, match="at least 2 rows, got 1"):
            module(normal(1, 3), normal(4, 3))


@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
def test_coral_is_the_distance_of_the_covariance_matrices_whatever_the_shape(n, m, d):
    x, y = normal(n, d), 1.5 * normal(m, d, seed=1) + 1
    assert_close(coral(x, y), (torch.cov(x.T) - torch.cov(y.T)).square().sum() / (4 * d**2))


@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
def test_the_gradient_of_coral_is_that_of_the_covariance_matrices(n, m, d):
    x, y = normal(n, d).requires_grad_(), (1.5 * normal(m, d, seed=1) + 1).requires_grad_()
    naive = (torch.cov(x.T) - torch.cov(y.T)).square().sum() / (4 * d**2)
    assert_close(torch.autograd.grad(coral(x, y), (x, y)), torch.autograd.grad(naive, (x, y)))


def test_coral_of_few_rows_makes_no_matrix_as_wide_as_the_features():
    sizes = []

    class Largest(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            sizes.append(result.numel() if isinstance(result, torch.Tensor) else 0)
            return result

    x, y = normal(8, 500).requires_grad_(), normal(6, 500, seed=1).requires_grad_()
    with Largest():
        coral(x, y).backward()
    assert max(sizes) == 8 * 500  # a covariance would have 500 * 500


def test_coral_of_few_rows_in_float32_is_as_exact_as_the_features_at_a_large_offset():
    x, y = (normal(16, 200) + 100).float(), (1.2 * normal(12, 200, seed=1) + 100).float()
    assert_close(coral(x, y).double(), coral(x.double(), y.double()), rtol=1e-5, atol=0)


def test_nearly_equal_clouds_of_few_rows_have_no_negative_coral_and_the_right_gradient():
    x = normal(16, 128, dtype=torch.float32)
    found = {}
    for dtype in (torch.float32, torch.float64):
        near = [(x + 1e-4 * normal(16, 128, seed=seed, dtype=torch.float32)).to(dtype) for seed in range(1, 9)]
        moved = [y.requires_grad_() for y in near]
        values = torch.stack([coral(x.to(dtype), y) for y in moved])
        assert (values >= 0).all()
        found[dtype] = torch.stack(torch.autograd.grad(values.sum(), moved)).double()
    # the values are below the rounding of |C|^2; the gradient is a difference of numbers 1e4 times larger than itself
    error = (found[torch.float32] - found[torch.float64]).norm() / found[torch.float64].norm()
    assert error < 1e-2


def test_coral_mean_adds_the_mean_square_of_the_move():
    x = normal(64, 3)
    move = normal(3, seed=7)
    assert_close(coral_mean(x, 2 * x + move - x.mean(dim=0)), move.square().mean() + 4 * coral(x, 2 * x))


@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
def test_coral_mean_is_the_mean_square_over_both_moments(n, m, d):
    x, y = normal(n, d), 1.5 * normal(m, d, seed=1) + 1
    means = (x.mean(dim=0) - y.mean(dim=0)).square().mean()
    assert_close(coral_mean(x, y), means + (torch.cov(x.T) - torch.cov(y.T)).square().mean())


def test_log_coral_of_a_scaled_cloud_without_ridge_is_the_logarithm_of_the_scale():
    x = normal(64, 3)  # log(4 C) - log C = log 4 I, whose squared norm is d (log 4)^2
    expected = torch.tensor(4.0, dtype=x.dtype).log().square() * 3 / 36
    assert_close(log_coral(x, 2 * x, ridge=1e-12), expected)


@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
def test_log_coral_equals_the_formula_with_matrix_logarithms_whatever_the_shape(n, m, d):
    x, y = normal(n, d) @ normal(d, d, seed=2), 1.5 * normal(m, d, seed=1) + 1
    assert_close(log_coral(x, y, 0.01), naive_log_coral(x, y, 0.01), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("n", "m", "d"), [(9, 7, 4), (4, 3, 12)])
def test_the_gradient_of_log_coral_matches_finite_differences(n, m, d):
    x, y = normal(n, d).requires_grad_(), (2 * normal(m, d, seed=1)).requires_grad_()
    assert torch.autograd.gradcheck(log_coral, (x, y))


def test_the_gradient_of_log_coral_is_exact_at_equal_eigenvalues():
    """Three equal variances: automatic differentiation of eigh divides by their difference, which is 0."""
    corners = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    y = (2 * normal(7, 3)).requires_grad_()
    x = corners.requires_grad_()
    assert torch.autograd.gradcheck(log_coral, (x, y))


def test_log_coral_is_blind_to_a_common_scale():
    x, y = normal(20, 4), 2 * normal(15, 4, seed=1)
    assert_close(log_coral(1e3 * x, 1e3 * y), log_coral(x, y))


@pytest.mark.parametrize("ridge", [0.0, -1.0])
def test_log_coral_refuses_a_ridge_that_is_not_positive(ridge):
    with pytest.raises(ValueError, match=f"ridge must be positive .*, got {ridge}"):
        LogCoral(ridge)
