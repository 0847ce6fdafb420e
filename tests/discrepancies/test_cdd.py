"""Contrastive domain discrepancy against the sums of the paper; the rest is in test_joint_and_conditional.py."""

import inspect

import pytest
import torch
from conftest import normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.discrepancies.cdd import Cdd, cdd, class_discrepancies
from da.discrepancies.lmmd import lmmd2
from da.discrepancies.mmd import mmd2

SCALES, BANDWIDTH = (0.5, 2.0), 1.5


def naive_kernel(a, b):
    d2 = (a - b) @ (a - b)
    return sum(torch.exp(-d2 / (2 * s * BANDWIDTH)) for s in SCALES) / len(SCALES)


def naive_cdd(z_s, y_s, z_t, y_t, classes):
    """Equations 3 to 5, with the indicator of each pair of labels; `classes` are those that count."""

    def mean_kernel(a, y_a, c_a, b, y_b, c_b):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if (y_a[i], y_b[j]) == (c_a, c_b)]
        return sum(naive_kernel(a[i], b[j]) for i, j in pairs) / len(pairs)

    def d(c1, c2):
        e1, e2 = mean_kernel(z_s, y_s, c1, z_s, y_s, c1), mean_kernel(z_t, y_t, c2, z_t, y_t, c2)
        return e1 + e2 - 2 * mean_kernel(z_s, y_s, c1, z_t, y_t, c2)

    m = len(classes)
    intra = sum(d(c, c) for c in classes) / m
    return intra - sum(d(a, b) for a in classes for b in classes if a != b) / (m * (m - 1))


def one_hot(labels, c=4):
    return F.one_hot(torch.tensor(labels), c).double()


def test_cdd_equals_the_sums_over_pairs_of_classes_and_of_rows():
    x, y = normal(9, 3), normal(8, 3, seed=1) + 1
    y_s, y_t = [0, 1, 2, 3, 0, 1, 2, 3, 0], [3, 2, 1, 0, 3, 3, 1, 1]
    expected = naive_cdd(x, y_s, y, y_t, classes=[0, 1, 2, 3])
    assert_close(cdd(x, one_hot(y_s), y, one_hot(y_t), SCALES, BANDWIDTH), expected)


def test_a_class_missing_from_one_side_adds_nothing():
    x, y = normal(8, 3).requires_grad_(), normal(7, 3, seed=1).requires_grad_()
    y_s, y_t = [0, 1, 2, 0, 1, 2, 0, 4], [0, 1, 3, 0, 1, 2, 2]  # 4 and 3 are missing from one side each, 5 from both
    p_s, p_t = one_hot(y_s, 6), one_hot(y_t, 6)
    value = cdd(x, p_s, y, p_t, SCALES, BANDWIDTH)
    assert_close(value, naive_cdd(x, y_s, y, y_t, classes=[0, 1, 2]))
    value.backward()
    assert torch.equal((x.grad == 0).all(dim=1), p_s[:, 4] == 1)
    assert torch.equal((y.grad == 0).all(dim=1), p_t[:, 3] == 1)


def test_class_discrepancies_are_the_mmds_of_all_pairs_of_classes():
    x, y, p_s, p_t = normal(9, 3), normal(6, 3, seed=1) + 1, one_hot([0, 1, 2] * 3, 3), one_hot([0, 1, 2] * 2, 3)
    d = class_discrepancies(x, p_s, y, p_t, SCALES, BANDWIDTH)
    for a in range(3):
        for b in range(3):
            assert_close(d[a, b], mmd2(x[a::3], y[b::3], SCALES, BANDWIDTH))


def test_within_classes_it_is_lmmd_for_soft_labels_too():
    x, y, p_s = normal(9, 3), normal(5, 3, seed=1) + 1, normal(9, 4, seed=2).softmax(dim=1)
    p_t = normal(5, 4, seed=3).softmax(dim=1)
    within = class_discrepancies(x, p_s, y, p_t, SCALES, BANDWIDTH).diagonal().mean()
    assert_close(within, lmmd2(x, p_s, y, p_t, SCALES, BANDWIDTH))


def test_a_soft_label_is_as_many_rows_as_its_parts():
    """A row that is half of one class and half of another counts as one row of each in two copies of the cloud."""
    x, y, p_s = normal(4, 3), normal(3, 3, seed=1), one_hot([0, 1, 0, 1], 2)
    p_t = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], dtype=x.dtype)
    copies = y[[0, 0, 1, 1, 2, 2]]
    expected = naive_cdd(x, [0, 1, 0, 1], copies, [0, 0, 0, 1, 1, 1], classes=[0, 1])
    assert_close(cdd(x, p_s, y, p_t, SCALES, BANDWIDTH), expected)


def test_of_a_cloud_and_itself_it_is_minus_the_mean_mmd_between_classes():
    x, p = normal(9, 3), one_hot([0, 1, 2] * 3, 3)
    between = [mmd2(x[a::3], x[b::3], SCALES, BANDWIDTH) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert_close(cdd(x, p, x, p, SCALES, BANDWIDTH), -sum(between) / 3)
    assert "D(x, x)" in inspect.getdoc(Cdd)


def test_far_classes_at_single_points_give_the_least_value():
    x, p = torch.eye(3, dtype=torch.float64) * 1e3, one_hot([0, 1, 2], 3)
    assert_close(cdd(x, p, x, p, (1.0,), 1.0), x.new_tensor(-2.0))
    assert_close(cdd(x, p, x.roll(1, dims=0), p, (1.0,), 1.0), x.new_tensor(2.0 - 3 * 2.0 / 6))


def test_one_shared_class_leaves_lmmd():
    x, y, p_s, p_t = normal(4, 3), normal(5, 3, seed=1), one_hot([0, 0, 1, 1]), one_hot([0, 0, 2, 3, 0])
    assert_close(cdd(x, p_s, y, p_t), lmmd2(x, p_s, y, p_t))


def test_without_a_shared_class_value_and_gradient_are_zero():
    x, y = normal(3, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_()
    value = Cdd()(x, one_hot([0, 0, 1]), y, one_hot([2, 3]))
    value.backward()
    assert value == 0
    assert (x.grad == 0).all()
    assert (y.grad == 0).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_step_against_its_gradient_separates_classes_and_joins_domains(sign):
    """Source classes at -1 and 1, the target's `sign` times there: half a step moves each target row the right way."""
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    y = (0.2 * sign * x).requires_grad_()
    p = one_hot([0, 1], 2)
    cdd(x, p, y, p, (1.0,), 1.0).backward()
    assert (y.grad[0] > 0).all()  # so that descent moves it to the left, where its class is
    assert (y.grad[1] < 0).all()


def test_probabilities_are_held_constant_in_backward():
    x, y, p_s = normal(6, 3), normal(5, 3, seed=1).requires_grad_(), one_hot([0, 1, 2, 3, 0, 1])
    p_t = normal(5, 4, seed=2).softmax(dim=1).requires_grad_()
    Cdd()(x, p_s, y, p_t).backward()
    assert y.grad.norm() > 0
    assert p_t.grad is None
