"""Batch spectral shrinkage against singular values."""

import pytest
import torch
from conftest import make_step, normal
from processes import on_processes
from torch.testing import assert_close

from da.terms.bss import Bss, smallest_singular_values

SHAPES = [(6, 4), (4, 6), (5, 5)]


def with_singular_values(n, d, values, dtype=torch.float64):
    """A matrix [n, d] with these singular values, in decreasing order."""
    u = torch.linalg.qr(normal(n, len(values))).Q
    v = torch.linalg.qr(normal(d, len(values), seed=1)).Q
    return (u @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ v.T).to(dtype)


@pytest.mark.parametrize(("n", "d"), [(3, 8), (8, 3)])
@pytest.mark.parametrize(("k", "expected"), [(1, 1.0), (2, 5.0), (3, 14.0)])
def test_is_the_sum_of_the_k_smallest_squared_singular_values(n, d, k, expected):
    z = with_singular_values(n, d, [3.0, 2.0, 1.0])
    assert_close(smallest_singular_values(z, k), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 3])
def test_value_and_gradient_are_those_of_the_singular_value_decomposition(shape, k):
    z, reference = normal(*shape).requires_grad_(), normal(*shape).requires_grad_()
    value, expected = smallest_singular_values(z, k), torch.linalg.svdvals(reference)[-k:].square().sum()
    value.backward()
    expected.backward()
    assert_close(value, expected)
    assert_close(z.grad, reference.grad)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_equals_finite_differences(shape):
    assert torch.autograd.gradcheck(lambda z: smallest_singular_values(z, 2), normal(*shape).requires_grad_())


@pytest.mark.parametrize("shape", SHAPES)
def test_all_singular_values_together_are_the_squared_norm(shape):
    z = normal(*shape)
    assert_close(smallest_singular_values(z, min(shape)), z.square().sum())


def test_gradient_is_finite_and_exact_where_all_singular_values_are_equal():
    z = (2 * torch.eye(4, dtype=torch.float64)).requires_grad_()
    smallest_singular_values(z, 4).backward()
    assert_close(z.grad, 2 * z.detach())
    z.grad = None
    smallest_singular_values(z, 1).backward()
    assert_close(z.grad.norm(), torch.tensor(4.0, dtype=torch.float64))  # 2 sigma u v^T, for one of the pairs


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_is_zero_and_flat_for_features_of_lower_rank(shape):
    z = with_singular_values(*shape, [3.0, 2.0]).requires_grad_()
    value = smallest_singular_values(z, 2)
    value.backward()
    assert 0 <= value < 1e-28
    assert z.grad.abs().max() < 1e-14


@pytest.mark.parametrize("smallest", [1e-1, 1e-2, 1e-3])
def test_float32_sees_small_singular_values_beside_large_ones(smallest):
    # The smallest eigenvalue of the Gram matrix itself is lost to rounding from about 1e-3 on: 1e-6 beside 1.
    z = with_singular_values(32, 16, [*torch.linspace(1, 0.5, 15).tolist(), smallest], torch.float32)
    assert_close(
        smallest_singular_values(z).double(), torch.tensor(smallest**2, dtype=torch.float64), rtol=1e-3, atol=0
    )


def test_the_term_is_the_mean_over_its_streams():
    step = make_step()
    expected = [torch.linalg.svdvals(rows.z)[-2:].square().sum() for rows in (step.source, step.target)]
    assert_close(Bss(2)(step), (expected[0] + expected[1]) / 2)
    assert_close(Bss(2, streams=["source"])(step), expected[0])
    assert_close(Bss(layer="logits", streams=["target"])(step), torch.linalg.svdvals(step.target.logits)[-1].square())


@pytest.mark.parametrize("k", [0, 5])
def test_k_is_at_most_the_smaller_of_rows_and_width(k):
    with pytest.raises(ValueError, match=rf"k must be from 1 to 4 for features of shape \(4, 6\), got {k}"):
        smallest_singular_values(normal(4, 6), k)


def test_options_are_checked_at_construction():
    with pytest.raises(ValueError, match="k must be 1 or more, got 0"):
        Bss(0)
    with pytest.raises(ValueError, match="streams must be one or more different names"):
        Bss(streams=[])


def shard_of(step, rank, world, leaf):
    rows = step.source._replace(z=leaf.chunk(world)[rank])
    return step._replace(streams={"source": rows})


def on_a_share(rank, world):
    leaf = normal(8, 5).requires_grad_()
    value = Bss(2, streams=["source"])(shard_of(make_step(), rank, world, leaf))
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.ddp
def test_two_processes_equal_one_on_the_whole_batch():
    value, gradient = on_a_share(0, 1)
    results = on_processes(2, on_a_share)
    for other, _ in results:
        assert_close(other, value)
    assert_close(sum(g for _, g in results) / 2, gradient)  # DistributedDataParallel takes the mean
