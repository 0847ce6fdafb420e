"""Adaptive feature norm against closed forms."""

import math

import pytest
import torch
from conftest import make_step
from torch.testing import assert_close

from da.terms.afn import HardFeatureNorm, StepwiseFeatureNorm


def with_features(z_s, z_t):
    step = make_step()
    return step._replace(streams={"source": step.source._replace(z=z_s), "target": step.target._replace(z=z_t)})


def test_hard_is_zero_where_both_means_have_the_radius_and_the_rows_have_not():
    z_s = torch.tensor([[3.0, 4.0], [0.0, 15.0]]).double()  # norms 5 and 15
    z_t = torch.tensor([[10.0, 0.0]]).double()
    assert HardFeatureNorm(radius=10.0)(with_features(z_s, z_t)) == 0
    assert HardFeatureNorm(radius=12.0)(with_features(z_s, z_t)) == 8


def test_hard_equals_the_papers_loops():
    step, expected = make_step(), 0.0
    for rows in (step.source, step.target):
        norms = [math.sqrt(sum(float(x) ** 2 for x in row)) for row in rows.z]
        expected += (sum(norms) / len(norms) - 25.0) ** 2
    term = HardFeatureNorm()
    assert_close(term(step), torch.tensor(expected).double())
    assert_close(term.measures["norm_target"], step.target.z.norm(dim=1).mean())


def test_stepwise_is_constant_and_pulls_each_row_outwards_by_its_own_direction():
    step = make_step()
    for rows in (step.source, step.target):
        rows.z.requires_grad_()
    value = StepwiseFeatureNorm(increment=0.5)(step)
    value.backward()
    assert_close(value.detach(), torch.tensor(2 * 0.25).double())
    for rows in (step.source, step.target):
        z = rows.z.detach()
        assert_close(rows.z.grad, -2 * 0.5 * z / z.norm(dim=1, keepdim=True) / len(z))


@pytest.mark.parametrize("scale", [1e-6, 1e5])
def test_stepwise_keeps_its_step_at_any_norm_in_single_precision(scale):
    step = make_step(dtype=torch.float32)
    value = StepwiseFeatureNorm(increment=1e-3)(with_features(scale * step.source.z, scale * step.target.z))
    assert_close(value, torch.tensor(2e-6))


@pytest.mark.parametrize("term", [HardFeatureNorm(), StepwiseFeatureNorm()])
def test_features_of_norm_zero_have_no_nan_gradient(term):
    z = torch.zeros(3, 4).requires_grad_()
    term(with_features(z, torch.ones(2, 4))).backward()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(("make", "name"), [(HardFeatureNorm, "radius"), (StepwiseFeatureNorm, "increment")])
def test_a_size_that_is_not_positive_is_refused(make, name):
    with pytest.raises(ValueError, match=f"{name} must be positive, got -1"):
        make(-1.0)
