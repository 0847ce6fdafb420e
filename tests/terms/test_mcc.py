"""Class confusion and its consistency over two views."""

import math

import pytest
import torch
from conftest import normal, views
from torch.nn import functional as F
from torch.testing import assert_close

from da.terms.mcc import ConfusionConsistency, class_confusion


def certain(*classes, c=3):
    return 1e4 * F.one_hot(torch.tensor(classes), c).double()


def test_a_class_without_any_probability_gives_neither_nan_nor_a_nan_gradient():
    logits = certain(0, 0, 1).requires_grad_()
    value = class_confusion(logits, 1.0)
    value.backward()
    assert_close(value.detach(), torch.tensor(1 / 3).double())  # the missing class is all confusion, the limit p -> 0
    assert logits.grad.isfinite().all()


def test_consistency_is_zero_between_a_view_and_itself():
    logits = 3 * normal(9, 3)
    assert ConfusionConsistency(threshold=0.4)(views(logits, logits)) == 0


def test_consistency_of_certain_views_that_swap_two_classes():
    # C_w is the identity; in the strong view rows of class 0 and 1 are one half each: C_s is J/2 on these two
    weak, strong = certain(0, 1, 2), torch.tensor([[9e3, 9e3, 0], [9e3, 9e3, 0], [0, 0, 9e3]]).double()
    assert_close(ConfusionConsistency(1.0)(views(weak, strong)), torch.tensor(4 * 0.25 / 3).double())


def naive(weak, strong, temperature, threshold):
    c = weak.shape[1]
    p_w, p_s = (weak / temperature).softmax(1), (strong / temperature).softmax(1)
    kept = [i for i in range(len(weak)) if float(p_w[i].max()) >= threshold]

    def confusion(p):
        w = {i: 1 + math.exp(float((p[i] * p[i].log()).sum())) for i in kept}
        table = [[sum(w[i] * float(p[i, j] * p[i, k]) for i in kept) for k in range(c)] for j in range(c)]
        return [[x / sum(row) for x in row] for row in table]

    a, b = confusion(p_w), confusion(p_s)
    gap = sum((a[j][k] - b[j][k]) ** 2 for j in range(c) for k in range(c))
    return len(kept) / len(weak) * gap / c, len(kept) / len(weak)


def test_consistency_equals_the_definition_in_loops_over_the_confident_rows():
    weak, strong = 3 * normal(9, 3), 3 * normal(9, 3, seed=1)
    term = ConfusionConsistency(2.5, 0.6)
    expected, kept = naive(weak, strong, 2.5, 0.6)
    assert 0 < kept < 1
    assert_close(term(views(weak, strong)), torch.tensor(expected).double())
    assert_close(term.measures["kept"], torch.tensor(kept).double())


def test_where_no_row_is_confident_consistency_is_zero_with_a_zero_gradient():
    strong = normal(9, 3, seed=1).requires_grad_()
    value = ConfusionConsistency(threshold=1.0)(views(normal(9, 3), strong))
    value.backward()
    assert value == 0
    assert_close(strong.grad, torch.zeros_like(strong))


def test_the_gradient_of_consistency_at_uniform_predictions_is_that_of_equal_weights():
    weak = 3 * normal(5, 3)
    kept = (weak / 2.5).softmax(1).amax(1) >= 0.4

    def by_hand(strong):  # all rows have one entropy, so one weight, and its derivative is 0 as well
        w, q = (weak / 2.5).softmax(1)[kept], (strong / 2.5).softmax(1)[kept]
        goal = (w * (1 + (w * w.log()).sum(1).exp())[:, None]).T @ w
        table = q.T @ q
        gap = goal / goal.sum(1, keepdim=True) - table / table.sum(1, keepdim=True)
        return kept.double().mean() * gap.square().sum() / 3

    gradients = []
    for function in (by_hand, lambda strong: ConfusionConsistency(threshold=0.4)(views(weak, strong))):
        strong = torch.zeros(5, 3).double().requires_grad_()
        function(strong).backward()
        gradients.append(strong.grad)
    assert gradients[0].abs().max() > 1e-3
    assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize(("options", "message"), [({"temperature": 0.0}, "temperature"), ({"threshold": 2.0}, "2.0")])
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ConfusionConsistency(**options)
