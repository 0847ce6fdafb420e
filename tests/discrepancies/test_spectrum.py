"""Batch spectral penalization and the subspace distance: closed forms, and the papers' formulas by SVD."""

import numpy as np
import pytest
import torch
from conftest import normal
from scipy.linalg import subspace_angles
from torch.testing import assert_close

from da.discrepancies.spectrum import Rsd, _Svd, bsp, in_joint_span, rsd


def naive_rsd(x, y, k, mismatch):
    u_s, u_t = (np.linalg.svd(z.numpy().T, full_matrices=False)[0][:, :k] for z in (x, y))
    p_s, cosines, p_t = np.linalg.svd(u_s.T @ u_t)
    sines = np.sqrt(np.clip(1 - cosines**2, 0, None))
    return torch.tensor(sines.sum() + mismatch * ((np.abs(p_s) - np.abs(p_t.T)) ** 2).sum())


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_bsp_is_the_sum_of_the_largest_squared_singular_values(shape, k):
    z = normal(*shape)
    assert_close(bsp(z, k), torch.linalg.svdvals(z)[:k].square().sum())


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_bsp_of_all_singular_values_is_the_squared_norm(shape):
    z = normal(*shape)
    assert_close(bsp(z, 4), z.square().sum())


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_the_gradient_of_bsp_matches_finite_differences(shape):
    assert torch.autograd.gradcheck(lambda z: bsp(z, 2), normal(*shape).requires_grad_())


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e5])
@pytest.mark.parametrize("z", [torch.ones(4, 3), torch.eye(3), torch.eye(3, 5)])
def test_the_gradient_of_bsp_is_twice_the_largest_singular_value_long_even_where_values_meet(z, scale):
    z = (scale * z).requires_grad_()
    bsp(z).backward()
    assert_close(z.grad.norm(), 2 * torch.linalg.matrix_norm(z.detach(), 2))


@pytest.mark.parametrize("k", [0, 4])
def test_bsp_refuses_more_singular_values_than_there_are(k):
    with pytest.raises(ValueError, match=f"k must be from 1 to 3 for features of shape .*, got {k}"):
        bsp(normal(5, 3), k)


@pytest.mark.parametrize(("n", "m", "d"), [(5, 4, 3), (5, 4, 30)])
def test_the_joint_span_keeps_the_inner_products_of_all_differences(n, m, d):
    x, y = normal(n, d) + 3, normal(m, d, seed=1)
    a, b = in_joint_span(x, y)
    assert a.shape[1] == b.shape[1] == min(d, n + m)
    assert_close(torch.cdist(a, b), torch.cdist(x, y))
    assert_close(torch.cdist(a, a), torch.cdist(x, x))


def test_two_lines_have_the_sine_of_their_angle():
    x = torch.tensor([[1.0, 0.0, 0.0]]).double()
    y = torch.tensor([[3.0, 4.0, 0.0]]).double()
    assert_close(rsd(x, y), torch.tensor(0.8).double())


def test_rsd_is_blind_to_the_scale_of_each_cloud():
    x, y = normal(6, 12), normal(6, 12, seed=1)
    assert_close(rsd(x, 100 * y), rsd(x, y))


@pytest.mark.parametrize(("n", "m", "d", "k"), [(6, 6, 20, 6), (6, 8, 20, 6), (30, 20, 7, 3)])
def test_rsd_equals_the_sum_of_sines_and_the_mismatch_of_the_bases(n, m, d, k):
    x, y = normal(n, d), normal(m, d, seed=1) + 0.5
    assert_close(rsd(x, y, k, 0.3), naive_rsd(x, y, k, 0.3))


def test_the_sines_are_those_of_the_principal_angles():
    x, y = normal(6, 20), normal(6, 20, seed=1)
    angles = torch.from_numpy(subspace_angles(x.numpy().T, y.numpy().T))
    assert_close(rsd(x, y, mismatch=0.0), angles.sin().sum())


def test_small_angles_are_exact_in_float32():
    angle = 1e-5  # its cosine is 1 in float32
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, angle]])
    assert_close(rsd(x, y, 1), torch.tensor(angle), rtol=1e-5, atol=0)


def test_all_rows_are_used_unless_a_number_is_given_and_the_larger_cloud_keeps_its_leading_directions():
    x, y = normal(4, 20), normal(7, 20, seed=1)
    assert_close(rsd(x, y), rsd(x, y, 4))


@pytest.mark.parametrize(("n", "m", "d", "k"), [(4, 4, 9, None), (4, 6, 9, None), (9, 8, 5, 2)])
def test_the_gradient_of_rsd_matches_finite_differences(n, m, d, k):
    x, y = normal(n, d).requires_grad_(), normal(m, d, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: rsd(a, b, k), (x, y))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (4, 4)])
def test_the_derivatives_of_the_decomposition_match_finite_differences(shape):
    weights = normal(*shape, seed=1), normal(4, seed=2), normal(*shape, seed=3)

    def of_all_three(a):
        u, s, v = _Svd.apply(a, 0.0)
        # unmoved by the signs of the singular vectors
        return (u * s @ v.T * weights[0]).sum() + s @ weights[1] + (u @ v.T * weights[2]).sum() + u[0].square() @ s

    assert torch.autograd.gradcheck(of_all_three, normal(*shape).requires_grad_())


def test_orthogonal_spans_have_a_small_gradient_though_their_overlap_is_rounding_noise():
    q, _ = torch.linalg.qr(normal(9, 9, dtype=torch.float32))
    x, y = (normal(3, 3, seed=i, dtype=torch.float32) @ q[3 * i : 3 * i + 3] for i in range(2))
    rsd(x.requires_grad_(), y.requires_grad_()).backward()
    assert x.grad.norm() < 1  # a noise of 1e-8, taken for three angles, would give 1e6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "clouds",
    [
        (torch.eye(3, 6), torch.eye(3, 6).flip(1)),  # equal singular values, orthogonal spans
        (torch.eye(3, 6), torch.eye(3, 6)),  # equal clouds
        (torch.ones(3, 6), 2 * torch.ones(3, 6)),  # rank 1
        (torch.zeros(3, 6), torch.zeros(3, 6)),  # rank 0
        (1e5 * torch.eye(3, 6), 1e-6 * torch.ones(3, 6)),
    ],
)
def test_rsd_has_a_finite_gradient_where_singular_values_meet_or_vanish(clouds, dtype):
    x, y = (cloud.to(dtype, copy=True).requires_grad_() for cloud in clouds)
    value = rsd(x, y)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize(
    ("sizes", "k", "message"),
    [
        ((3, 5, 9), 4, "num_directions = 4 needs as many rows, got 3 source and 5 target rows"),
        ((8, 9, 4), 4, "num_directions must be from 1 to 2 at width 4, got 4"),
        ((8, 9, 4), None, "num_directions must be from 1 to 2 at width 4, got 8"),
    ],
)
def test_rsd_refuses_spans_that_fill_more_than_half_the_space_or_exceed_the_rows(sizes, k, message):
    n, m, d = sizes
    with pytest.raises(ValueError, match=message):
        rsd(normal(n, d), normal(m, d), k)


@pytest.mark.parametrize(("setting", "value"), [("num_directions", 0), ("mismatch", -0.1)])
def test_rsd_refuses_settings_that_mean_nothing(setting, value):
    with pytest.raises(ValueError, match=f"{setting} must be .*, got {value}"):
        Rsd(**{setting: value})
