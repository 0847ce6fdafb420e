"""Distances of fitted Gaussians: closed forms, and the textbook formulas."""

import pytest
import torch
from conftest import normal
from scipy.linalg import sqrtm
from torch.testing import assert_close

from da.discrepancies.gaussian import Jeffreys, frechet, jeffreys

SHAPES = [(24, 17, 5), (17, 24, 5), (24, 5, 12), (6, 4, 30)]


def with_moments(mean, variances):
    """Rows whose mean and unbiased covariance are exactly these: 2 d corners of a cross, around the mean."""
    d = len(variances)
    arms = torch.diag((variances * (2 * d - 1) / 2).sqrt())
    return torch.cat([arms, -arms]) + mean


MEAN_S, MEAN_T = torch.tensor([0.0, 1.0, -1.0]).double(), torch.tensor([0.5, 3.0, -1.0]).double()
VARIANCES_S, VARIANCES_T = torch.tensor([1.0, 4.0, 0.25]).double(), torch.tensor([2.0, 1.0, 0.25]).double()


def naive_jeffreys(x, y, ridge):
    d = x.shape[1]
    delta = x.mean(dim=0) - y.mean(dim=0)
    c_s, c_t = torch.cov(x.T), torch.cov(y.T)
    rho = ridge * ((c_s + c_t) / 2 + torch.outer(delta, delta) / 4).trace() / d
    c_s, c_t = (c + rho * torch.eye(d, dtype=x.dtype) for c in (c_s, c_t))

    def divergence(p, q):
        quadratic = torch.linalg.solve(q, p).trace() + delta @ torch.linalg.solve(q, delta)
        return (quadratic - d + q.logdet() - p.logdet()) / 2

    return divergence(c_s, c_t) + divergence(c_t, c_s)


def naive_frechet(x, y):
    delta = x.mean(dim=0) - y.mean(dim=0)
    c_s, c_t = torch.cov(x.T), torch.cov(y.T)
    root = sqrtm(c_s.numpy())
    middle = torch.from_numpy(sqrtm(root @ c_t.numpy() @ root).real)
    return delta @ delta + (c_s + c_t - 2 * middle).trace()


def test_the_made_rows_have_the_wanted_moments():
    x = with_moments(MEAN_S, VARIANCES_S)
    assert_close(x.mean(dim=0), MEAN_S)
    assert_close(torch.cov(x.T), torch.diag(VARIANCES_S))


def test_jeffreys_of_independent_coordinates_is_the_sum_over_them():
    x, y = with_moments(MEAN_S, VARIANCES_S), with_moments(MEAN_T, VARIANCES_T)
    s, t, gap = VARIANCES_S, VARIANCES_T, (MEAN_S - MEAN_T).square()
    expected = ((s / t + t / s - 2 + gap * (1 / s + 1 / t)) / 2).sum()
    assert_close(jeffreys(x, y, ridge=1e-12), expected)


@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
def test_jeffreys_is_both_kullback_leibler_divergences_of_the_ridged_gaussians(n, m, d):
    x, y = normal(n, d) @ normal(d, d, seed=2), 1.5 * normal(m, d, seed=1) + 1
    assert_close(jeffreys(x, y, 0.05), naive_jeffreys(x, y, 0.05), rtol=1e-8, atol=0)


@pytest.mark.parametrize(("n", "m", "d"), [(9, 7, 4), (4, 3, 12)])
@pytest.mark.parametrize("distance", [jeffreys, frechet])
def test_the_gradient_matches_finite_differences_for_many_and_for_few_rows(distance, n, m, d):
    x, y = normal(n, d).requires_grad_(), (2 * normal(m, d, seed=1) + 1).requires_grad_()
    assert torch.autograd.gradcheck(distance, (x, y))


def test_jeffreys_of_two_far_points_is_bounded_by_the_ridge():
    x, y = torch.zeros(3, 2, dtype=torch.float32), torch.full((4, 2), 1e5)
    # each covariance is rho I with rho = ridge |delta|^2 / 4d, so that |delta|^2 / rho = 4d / ridge
    assert_close(jeffreys(x, y, 0.1), torch.tensor(80.0))


def test_frechet_of_independent_coordinates_is_that_of_means_and_deviations():
    x, y = with_moments(MEAN_S, VARIANCES_S), with_moments(MEAN_T, VARIANCES_T)
    expected = (MEAN_S - MEAN_T).square().sum() + (VARIANCES_S.sqrt() - VARIANCES_T.sqrt()).square().sum()
    assert_close(frechet(x, y), expected)


def test_frechet_of_a_linear_map_by_a_positive_matrix_is_its_mean_square_displacement():
    """x -> x T with a symmetric T > 0 is the optimal transport, so W_2^2 = tr (I - T) C (I - T)."""
    x = normal(40, 4)
    b = normal(4, 4, seed=1)
    t = b @ b.T + 0.1 * torch.eye(4, dtype=b.dtype)
    away = torch.eye(4, dtype=b.dtype) - t
    move = x.mean(dim=0) @ away
    assert_close(frechet(x, x @ t), move @ move + (away @ torch.cov(x.T) @ away).trace())


@pytest.mark.parametrize(("n", "m", "d"), SHAPES)
def test_frechet_equals_the_formula_with_matrix_roots(n, m, d):
    x, y = normal(n, d) @ normal(d, d, seed=2), 1.5 * normal(m, d, seed=1) + 1
    # the root of a singular matrix is right to half of the digits only: the naive formula, not ours
    assert_close(frechet(x, y), naive_frechet(x, y), rtol=1e-9 if min(n, m) > d else 1e-5, atol=0)


def test_frechet_of_equal_clouds_in_float32_is_zero_to_rounding_with_a_gradient_of_zero():
    x = normal(20, 50, dtype=torch.float32)
    y = x.clone().requires_grad_()
    value = frechet(x, y)
    value.backward()
    assert_close(value, torch.zeros(()), atol=1e-9, rtol=0)
    assert_close(y.grad, torch.zeros_like(y), atol=1e-6, rtol=0)


def test_the_gradient_of_frechet_is_exact_where_singular_values_are_equal():
    """Equal variances in all directions: differentiating a decomposition divides by their difference, which is 0."""
    x, y = with_moments(MEAN_S, torch.ones(3).double()), with_moments(MEAN_T, 4 * torch.ones(3).double())
    assert torch.autograd.gradcheck(frechet, (x.requires_grad_(), y.requires_grad_()))


@pytest.mark.parametrize("ridge", [0.0, -1.0])
def test_jeffreys_refuses_a_ridge_that_is_not_positive(ridge):
    with pytest.raises(ValueError, match=f"ridge must be positive .*, got {ridge}"):
        Jeffreys(ridge)


def test_a_covariance_needs_two_rows():
    for distance in (jeffreys, frechet):
        with pytest.raises(ValueError, match="at least 2 rows, got 4 source and 1 target"):
            distance(normal(4, 3), normal(1, 3))
