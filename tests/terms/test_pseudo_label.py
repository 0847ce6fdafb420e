"""Confident predictions as labels."""

import pytest
import torch
from conftest import make_step
from torch.testing import assert_close

from da.terms.pseudo_label import ThresholdPseudoLabel


def step_with(*rows):
    """A step with these target probabilities."""
    step = make_step(m=len(rows))
    return step._replace(streams={"target": step.target._replace(logits=torch.tensor(rows).double().log())})


STEP = step_with([0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.4, 0.3, 0.3])


def log(x):
    return torch.tensor(x).double().log()


def test_only_rows_at_the_threshold_or_above_count_and_the_mean_is_over_all():
    term = ThresholdPseudoLabel(threshold=0.65)
    assert_close(term(STEP), -(log(0.9) + log(0.7)) / 3)
    assert_close(term.measures["kept"], torch.tensor(2 / 3).double())


def test_or_the_mean_is_over_the_kept_rows():
    assert_close(ThresholdPseudoLabel(0.65, "kept")(STEP), -(log(0.9) + log(0.7)) / 2)


def test_threshold_zero_is_lees_pseudo_label_on_every_row():
    assert_close(ThresholdPseudoLabel(0.0)(STEP), -(log(0.9) + log(0.7) + log(0.4)) / 3)
    assert_close(ThresholdPseudoLabel(0.0, "kept")(STEP), ThresholdPseudoLabel(0.0)(STEP))


@pytest.mark.parametrize("mean_over", ["all", "kept"])
def test_no_confident_row_gives_zero_and_a_zero_gradient(mean_over):
    logits = STEP.target.logits.clone().requires_grad_()
    step = STEP._replace(streams={"target": STEP.target._replace(logits=logits)})
    value = ThresholdPseudoLabel(1.0, mean_over)(step)
    value.backward()
    assert value == 0
    assert_close(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("mean_over", ["all", "kept"])
def test_the_gradient_is_that_of_the_cross_entropy_of_the_kept_rows(mean_over):
    logits = STEP.target.logits.clone().requires_grad_()
    step = STEP._replace(streams={"target": STEP.target._replace(logits=logits)})
    ThresholdPseudoLabel(0.65, mean_over)(step).backward()
    p = torch.tensor([[0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.4, 0.3, 0.3]]).double()
    one_hot = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 0]]).double()
    divisor = 3 if mean_over == "all" else 2
    assert_close(logits.grad, torch.tensor([[1.0], [1.0], [0.0]]).double() * (p - one_hot) / divisor)


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"mean_over": "some"}])
def test_impossible_options_are_refused(options):
    with pytest.raises((ValueError, TypeError), match="1.5|some"):
        ThresholdPseudoLabel(**options)
