"""Combination rules on probabilities made by hand, and the temperature against closed forms and a grid."""

import math

import pytest
import torch
from conftest import normal
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from da.transfer.teachers import (
    Combined,
    agreement,
    by_entropy,
    check_distillation,
    extension,
    fit_temperature,
    information,
    intersection,
    soft_labels,
    union,
)

P = torch.tensor(  # two teachers, four rows, three classes
    [
        [[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]],
        [[0.1, 0.8, 0.1], [0.5, 0.25, 0.25], [0.4, 0.4, 0.2], [0.2, 0.2, 0.6]],
    ],
    dtype=torch.float64,
)
HALF = torch.full((2, 1), 0.5, dtype=torch.float64)


def test_the_union_is_what_the_most_confident_teacher_says():
    found = union(P.log(), 0.55)
    assert_close(found.log_p.exp(), torch.stack([P[1, 0], P[1, 1], P[0, 2], P[0, 3]]))
    assert found.kept.tolist() == [True, False, False, True]  # 0.8, 0.5, 0.5, 0.8


def test_the_intersection_keeps_rows_of_one_class_and_enough_confidence_on_average():
    found = intersection(P.log(), 0.45)
    assert_close(found.log_p.exp(), P.mean(dim=0))
    assert found.kept.tolist() == [False, True, True, True]  # 0.45 on average is enough
    assert intersection(P.log(), 0.46).kept.tolist() == [False, False, False, True]
    assert agreement(P.log()).tolist() == [False, True, True, True]


def test_the_extension_is_the_weighted_mean_of_the_probabilities():
    w = torch.tensor([[0.25], [0.75]], dtype=torch.float64)
    found = extension(P.log(), w, 0.6)
    expected = 0.25 * P[0] + 0.75 * P[1]
    assert_close(found.log_p.exp(), expected)
    assert found.kept.tolist() == (expected.amax(dim=1) >= 0.6).tolist() == [True, False, False, True]
    by_row = torch.tensor([[1.0, 0, 0.5, 0.2], [0, 1.0, 0.5, 0.8]], dtype=torch.float64)
    expected = torch.stack([P[0, 0], P[1, 1], P[:, 2].mean(0), 0.2 * P[0, 3] + 0.8 * P[1, 3]])
    assert_close(extension(P.log(), by_row, 0.0).log_p.exp(), expected)


@pytest.mark.parametrize("rule", [union, intersection, lambda p, t: extension(p, torch.ones(len(p), 1).to(p), t)])
def test_one_teacher_is_that_teacher(rule):
    found = rule(P[:1].log(), 0.45)
    assert_close(found.log_p, P[0].log())
    assert found.kept.tolist() == (P[0].amax(dim=1) >= 0.45).tolist()


@pytest.mark.parametrize("rule", [union, intersection, lambda p, t: extension(p, by_entropy(p), t)])
def test_several_identical_teachers_are_any_of_them(rule):
    found = rule(P[:1].log().expand(3, -1, -1), 0.0)
    assert_close(found.log_p, P[0].log())
    assert found.kept.all()


def test_a_teacher_that_is_certain_leaves_no_nan():
    log_p = torch.tensor([[[0.0, -torch.inf]], [[-1e4, 0.0]]], dtype=torch.float64)
    for found in (union(log_p, 0.0), intersection(log_p, 0.0), extension(log_p, by_entropy(log_p), 0.0)):
        assert soft_labels(found, 2.0, "soft").isfinite().all()
    assert union(log_p, 1.0).kept.all()  # a threshold that is just reached


def test_weights_by_entropy_are_in_proportion_to_exp_minus_the_entropy():
    w = by_entropy(P.log())
    assert_close(w.sum(dim=0), torch.ones(4, dtype=torch.float64))
    h = [[-sum(x * math.log(x) for x in row) for row in teacher] for teacher in P.tolist()]
    expected = [[math.exp(-h[k][i]) / (math.exp(-h[0][i]) + math.exp(-h[1][i])) for i in range(4)] for k in range(2)]
    assert_close(w, torch.tensor(expected, dtype=torch.float64))


def test_information_is_that_of_infomax():
    rows = torch.eye(3, dtype=torch.float64)
    same = torch.tensor([[0.6, 0.3, 0.1]] * 3, dtype=torch.float64)
    expected = torch.tensor([math.log(3), 0.0], dtype=torch.float64)  # sure of every class, and all rows alike
    assert_close(information(torch.stack([rows, same]).log()), expected)
    mean, entropy = P.mean(dim=1), -(P * P.log()).sum(dim=2).mean(dim=1)
    assert_close(information(P.log()), -(mean * mean.log()).sum(dim=1) - entropy)


def test_soft_labels_of_logits_are_softmax_of_the_logits_divided_by_the_temperature():
    logits, kept = 40 * normal(5, 3), torch.tensor([True, False, True, True, False])
    combined = Combined(logits.log_softmax(1), kept)
    assert_close(soft_labels(combined, 30.0, "soft"), (logits / 30).softmax(1) * kept[:, None])
    hard = soft_labels(combined, 30.0, "hard")
    assert hard[kept].sum(dim=1).tolist() == [1, 1, 1]
    assert hard[kept].argmax(1).tolist() == logits[kept].argmax(1).tolist()
    assert hard[~kept].abs().max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [((0.0, "soft"), "temperature must be positive, got 0.0"), ((1.0, "firm"), "labels='firm': expected one of soft")],
)
def test_options_of_a_distillation_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        check_distillation(*options)


def test_the_temperature_undoes_a_scale_of_the_logits():
    logits = normal(400, 3)
    y = torch.distributions.Categorical(logits=logits).sample()
    best = fit_temperature(logits, y)
    assert fit_temperature(3 * logits, y) == pytest.approx(3 * best, rel=1e-9)
    assert fit_temperature(logits + normal(400, 1, seed=1), y) == pytest.approx(best, rel=1e-9)  # a shift of a row


def test_the_temperature_of_two_classes_is_the_logit_over_the_log_odds():
    # All rows say class 0 with logit 2, and 3 of 4 are: softmax(2 / T) = 3/4, so T = 2 / log 3.
    logits, y = torch.tensor([[2.0, 0.0]]).repeat(4, 1), torch.tensor([0, 0, 0, 1])
    assert fit_temperature(logits, y) == pytest.approx(2 / math.log(3), rel=1e-9)


def test_no_other_temperature_is_better():
    logits, y = 2 * normal(60, 4), torch.arange(60) % 4
    logits[torch.arange(60), y] += 1
    best = fit_temperature(logits, y)
    at_best = cross_entropy(logits / best, y)
    for factor in (0.5, 0.99, 1.01, 2.0):
        assert cross_entropy(logits / (best * factor), y) > at_best


def test_there_is_no_best_temperature_for_rows_all_right_or_at_chance():
    y = torch.arange(6) % 3
    right = 5 * torch.eye(3, dtype=torch.float64)[y]
    with pytest.raises(ValueError, match="all rows are predicted right"):
        fit_temperature(right, y)
    with pytest.raises(ValueError, match="no better than by chance"):
        fit_temperature(-right, y)
