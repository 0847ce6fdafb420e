"""Calibration errors by hand, and TransCal where the truth is known."""

import math

import pytest
import torch
from conftest import normal

from da.callbacks.calibration_errors import CalibrationErrors
from da.transfer.calibration import (
    brier_score,
    expected_calibration_error,
    reliability,
    target_accuracy,
    transcal,
)


def naive_ece(p, y, bins):
    total = 0.0
    for k in range(bins):
        inside = [i for i in range(len(p)) if k / bins < float(p[i].max()) <= (k + 1) / bins]
        if inside:
            confidence = sum(float(p[i].max()) for i in inside) / len(inside)
            accuracy = sum(int(p[i].argmax()) == int(y[i]) for i in inside) / len(inside)
            total += len(inside) / len(p) * abs(confidence - accuracy)
    return total


def test_the_expected_calibration_error_is_the_loop_of_its_definition():
    p, y = normal(200, 4).mul(2).softmax(dim=1), torch.arange(200) % 4
    for bins in (1, 7, 15):
        assert expected_calibration_error(reliability(p, y, bins)) == pytest.approx(naive_ece(p, y, bins), abs=1e-12)


def test_who_is_right_as_often_as_sure_has_no_error():
    p = torch.tensor([[0.75, 0.25]] * 4, dtype=torch.float64)
    assert expected_calibration_error(reliability(p, torch.tensor([0, 0, 0, 1]))) == pytest.approx(0)
    assert expected_calibration_error(reliability(p, torch.tensor([1, 1, 1, 1]))) == pytest.approx(0.75)


def test_the_brier_score_is_the_mean_squared_distance():
    p = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)
    assert brier_score(p, torch.tensor([0, 0])) == pytest.approx((2 * 0.2**2 + 2 * 0.7**2) / 2)


def test_over_batches_it_is_that_of_all_rows_and_without_a_label_it_is_no_number():
    logits, y = normal(50, 3, dtype=torch.float32), torch.arange(50) % 3
    errors = CalibrationErrors()
    for part in (slice(0, 13), slice(13, 13), slice(13, 50)):
        errors.update(logits[part], y[part])
    p = logits.double().softmax(dim=1)
    assert errors.compute().tolist() == pytest.approx([naive_ece(p, y, 15), brier_score(p, y)], abs=1e-9)
    errors.reset()
    errors.update(logits[:0], y[:0])
    assert errors.compute().isnan().all()


def test_the_accuracy_with_equal_domains_is_that_of_the_source():
    right = (torch.arange(40) % 4 > 0).double()
    assert target_accuracy(right, torch.ones(40), 0.75) == pytest.approx(0.75)


def test_the_control_variates_are_those_of_the_paper():
    """Algorithm by hand: w' = w^m, e = w' (1 - r); e + eta_1 (w' - 1); then eta_2 (r - confidence)."""
    generator = torch.Generator().manual_seed(0)
    right, w = (torch.rand(30, generator=generator) < 0.7).double(), torch.rand(30, generator=generator).double() + 0.2
    meta, confidence = 0.5, 0.66
    v = (w / w.mean()) ** meta
    e = v * (1 - right)

    def cov(a, b):
        return sum((x - a.mean()) * (y - b.mean()) for x, y in zip(a, b, strict=True)) / (len(a) - 1)

    eta_1 = -cov(e, v) / cov(v, v)
    starred = e + eta_1 * (v - 1)
    eta_2 = -cov(starred, right) / cov(right, right)
    risk = starred.mean() + eta_2 * right.mean() - eta_2 * confidence
    assert target_accuracy(right, w, confidence, meta) == pytest.approx(float(1 - risk), abs=1e-12)


def test_a_network_that_is_too_sure_is_cooled_to_its_accuracy():
    """Rows of log-odds a, right with probability sigmoid(a): logits of three times a have T = 3."""
    generator = torch.Generator().manual_seed(0)
    a = 2 * torch.rand(20_000, generator=generator, dtype=torch.float64)
    right = (torch.rand(20_000, generator=generator) < a.sigmoid()).double()
    logits = torch.stack([3 * a, torch.zeros_like(a)], dim=1)
    found = transcal(logits, right, torch.ones(20_000), float(a.sigmoid().mean()))
    assert found.temperature == pytest.approx(3.0, rel=0.05)
    assert found.meta == 1.0
    cooled = (logits / found.temperature).softmax(dim=1).amax(dim=1).mean()
    assert float(cooled) == pytest.approx(found.accuracy, abs=1e-6)


def test_a_network_that_is_not_sure_enough_stays_as_it_is():
    logits = torch.stack([torch.full((50,), 0.1), torch.zeros(50)], dim=1)
    assert transcal(logits, torch.ones(50), torch.ones(50), 0.99).temperature == 1.0


def test_wild_weights_are_tamed_before_the_accuracy_leaves_what_a_temperature_can_reach():
    logits = torch.stack([torch.full((50,), 8.0), torch.zeros(50)], dim=1)
    right, w = torch.ones(50), torch.ones(50)
    right[:10], w[:10] = 0.0, 1000.0  # all weight on rows that are wrong: accuracy 0, below chance
    found = transcal(logits, right, w, 0.8)
    assert found.meta < 1
    assert 0.5 < found.accuracy < 1
    assert math.isfinite(found.temperature)
