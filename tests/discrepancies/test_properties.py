"""What every discrepancy must satisfy: each is found in conf/discrepancy."""

import inspect
import pickle

import pytest
import torch
from conftest import config, normal, options
from hydra.utils import get_class
from torch.testing import assert_close

from da.build import build

DISCREPANCIES = options("discrepancy")


def make(name, fixed_bandwidth=False):
    node = config("method=align", f"discrepancy={name}").discrepancy
    # A bandwidth taken from the data is held constant in backward; finite differences would move it.
    if fixed_bandwidth and "bandwidth" in inspect.signature(get_class(node._target_)).parameters:
        node.bandwidth = 2.0
    return build(node, "discrepancy")


@pytest.fixture(params=DISCREPANCIES)
def discrepancy(request):
    return make(request.param)


def test_zero_between_a_cloud_and_itself(discrepancy, clouds):
    x, _ = clouds
    assert_close(discrepancy(x, x), x.new_zeros(()), atol=1e-12, rtol=0)


def test_symmetric_for_unequal_sizes(discrepancy, clouds):
    x, y = clouds
    assert len(x) != len(y)
    assert_close(discrepancy(x, y), discrepancy(y, x))


def test_ignores_the_order_of_the_rows(discrepancy, clouds):
    x, y = clouds
    assert_close(discrepancy(x.flip(0), y), discrepancy(x, y))


def test_unmoved_by_a_rotation_of_both_clouds(discrepancy, clouds):
    q, _ = torch.linalg.qr(normal(5, 5, seed=3))
    x, y = clouds
    assert_close(discrepancy(x @ q, y @ q), discrepancy(x, y))


def test_sees_a_cloud_that_is_moved_or_stretched(discrepancy, clouds):
    x, _ = clouds
    assert discrepancy(x, 3 * x + 2) > discrepancy(x, 1.1 * x + 0.1) > 0


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_gradient_matches_finite_differences(name, clouds):
    x, y = clouds[0][:6].requires_grad_(), clouds[1][:5].requires_grad_()
    assert torch.autograd.gradcheck(make(name, fixed_bandwidth=True), (x, y))


def test_gradient_reaches_both_clouds(discrepancy, clouds):
    x, y = (cloud.requires_grad_() for cloud in clouds)
    discrepancy(x, 2 * y + 1).backward()
    assert x.grad.norm() > 0
    assert y.grad.norm() > 0


def test_descending_it_brings_the_clouds_together(discrepancy, clouds):
    x, y = clouds[0], (2 * clouds[1] + 1).requires_grad_()
    before = discrepancy(x, y)
    (gradient,) = torch.autograd.grad(before, y)
    assert discrepancy(x, y - 1e-2 * gradient / gradient.norm()) < before


def test_constant_features_give_a_number(discrepancy):
    x = torch.ones(4, 3)
    assert_close(discrepancy(x, x[:3]), torch.zeros(()), atol=1e-6, rtol=0)


def test_float32_agrees_with_float64_far_from_the_origin(discrepancy, clouds):
    x, y = (cloud + 100 for cloud in clouds)
    assert_close(discrepancy(x.float(), y.float()).double(), discrepancy(x, y), rtol=1e-3, atol=1e-6)


def test_survives_pickling(discrepancy, clouds):
    assert pickle.loads(pickle.dumps(discrepancy))(*clouds) == discrepancy(*clouds)


def test_rejects_features_of_different_width(discrepancy, clouds):
    x, y = clouds
    with pytest.raises(Exception, match="d"):
        discrepancy(x, y[:, :3])
