"""Local MMD against the sums of the paper; what holds for Jmmd and Cdd, too, is in test_joint_and_conditional.py."""

import pytest
import torch
from conftest import normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.discrepancies.lmmd import Lmmd
from da.discrepancies.mmd import mmd2

SCALES, BANDWIDTH = (0.5, 2.0), 1.5


def naive_kernel(a, b):
    d2 = (a - b) @ (a - b)
    return sum(torch.exp(-d2 / (2 * s * BANDWIDTH)) for s in SCALES) / len(SCALES)


def naive_lmmd2(z_s, p_s, z_t, p_t, classes):
    """Equations 7 and 8, class by class and pair by pair; `classes` are those that count."""

    def weighted(a, w_a, b, w_b):
        return sum(w_a[i] * w_b[j] * naive_kernel(a[i], b[j]) for i in range(len(a)) for j in range(len(b)))

    total = 0
    for c in classes:
        w_s, w_t = p_s[:, c] / p_s[:, c].sum(), p_t[:, c] / p_t[:, c].sum()
        total += weighted(z_s, w_s, z_s, w_s) + weighted(z_t, w_t, z_t, w_t) - 2 * weighted(z_s, w_s, z_t, w_t)
    return total / len(classes)


def one_hot(*labels, c=4):
    return F.one_hot(torch.tensor(labels), c).double()


@pytest.fixture
def soft():
    """Source with labels of the classes 0 to 2 of 4, target with probabilities of all of them."""
    p_t = normal(5, 4, seed=2).softmax(dim=1)
    return normal(7, 3), one_hot(0, 1, 2, 0, 1, 2, 0), normal(5, 3, seed=1) + 1, p_t


def test_lmmd_equals_the_sum_over_classes_and_pairs_for_soft_labels(soft):
    assert_close(Lmmd(SCALES, BANDWIDTH)(*soft), naive_lmmd2(*soft, classes=[0, 1, 2]))


def test_lmmd_equals_the_mean_of_the_mmds_of_the_classes_for_hard_labels():
    x, y, y_s, y_t = normal(8, 3), normal(6, 3, seed=1) + 1, [0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 3, 3]
    per_class = [mmd2(x[c::4], y[torch.tensor(y_t) == c], SCALES, BANDWIDTH) for c in range(4)]
    assert_close(Lmmd(SCALES, BANDWIDTH)(x, one_hot(*y_s), y, one_hot(*y_t)), sum(per_class) / 4)


def test_lmmd_with_one_class_is_mmd(clouds):
    x, y = clouds
    assert_close(Lmmd()(x, torch.ones_like(x[:, :1]), y, torch.ones_like(y[:, :1])), mmd2(x, y))


def test_lmmd_sees_classes_that_changed_places_where_mmd_does_not():
    x = normal(40, 2) + 4 * one_hot(*[0, 1] * 20, c=2)
    p, swapped = one_hot(*[0, 1] * 20, c=2), one_hot(*[1, 0] * 20, c=2)
    assert_close(mmd2(x, x), x.new_zeros(()), atol=1e-12, rtol=0)
    assert Lmmd()(x, p, x, swapped) > 0.1


def test_a_class_missing_from_one_side_adds_nothing():
    x, y = normal(6, 3).requires_grad_(), normal(5, 3, seed=1).requires_grad_()
    p_s, p_t = one_hot(0, 1, 2, 0, 1, 2), one_hot(0, 1, 3, 0, 1)  # 2 and 3 are missing from one side each
    value = Lmmd(SCALES, BANDWIDTH)(x, p_s, y, p_t)
    assert_close(value, naive_lmmd2(x, p_s, y, p_t, classes=[0, 1]))
    value.backward()
    assert torch.equal((x.grad == 0).all(dim=1), p_s[:, 2] == 1)
    assert torch.equal((y.grad == 0).all(dim=1), p_t[:, 3] == 1)


def test_without_a_shared_class_value_and_gradient_are_zero():
    x, y = normal(3, 3).requires_grad_(), normal(2, 3, seed=1).requires_grad_()
    value = Lmmd()(x, one_hot(0, 0, 1), y, one_hot(2, 3))
    value.backward()
    assert value == 0
    assert (x.grad == 0).all()
    assert (y.grad == 0).all()


def test_the_numbering_of_the_classes_does_not_matter(soft):
    z_s, p_s, z_t, p_t = soft
    assert_close(Lmmd()(z_s, p_s.flip(1), z_t, p_t.flip(1)), Lmmd()(*soft))


def test_probabilities_are_held_constant_in_backward(soft):
    z_s, p_s, z_t, p_t = soft
    z_t.requires_grad_()
    p_t.requires_grad_()
    Lmmd()(z_s, p_s, z_t, p_t).backward()
    assert z_t.grad.norm() > 0
    assert p_t.grad is None


def test_improbable_classes_stay_finite_in_float32(soft):
    z_s, p_s, z_t, _ = (part.float() for part in soft)
    p_t = torch.tensor([0.0, -60.0, -86.0, -30.0]).expand(5, 4).softmax(dim=1)
    assert (p_t > 0).all()
    z_t.requires_grad_()
    value = Lmmd(SCALES, BANDWIDTH)(z_s, p_s, z_t, p_t)
    value.backward()
    uniform = Lmmd(SCALES, BANDWIDTH)(z_s, p_s, z_t, torch.full((5, 4), 0.25))  # all rows weigh the same in a class
    assert_close(value, uniform)
    assert z_t.grad.isfinite().all()
