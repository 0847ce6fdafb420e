"""Fast batch nuclear-norm maximisation against closed forms and the paper's loops."""

import math

import pytest
import torch
from conftest import make_step, normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.terms.bnm import Bnm, Fbnm


def with_target_logits(logits):
    step = make_step(m=len(logits))
    return step._replace(streams={"target": step.target._replace(logits=logits)})


def test_fbnm_of_certain_predictions_is_the_sum_of_root_class_sizes():
    logits = 1e4 * F.one_hot(torch.tensor([0, 0, 0, 1, 1, 2]), 3).double()
    expected = -(math.sqrt(3) + math.sqrt(2) + 1) / 6
    assert_close(Fbnm()(with_target_logits(logits)), torch.tensor(expected).double())
    assert_close(Fbnm()(with_target_logits(logits)), Bnm()(with_target_logits(logits)))


def test_fbnm_of_uniform_predictions_is_minus_one_over_root_n():
    # c columns of norm sqrt(n) / c each, so their sum over n is 1 / sqrt(n)
    assert_close(Fbnm()(with_target_logits(torch.zeros(9, 3).double())), torch.tensor(-1 / 3).double())


@pytest.mark.parametrize(("n", "c"), [(9, 3), (3, 7)])
def test_fbnm_equals_the_papers_loops_also_with_more_classes_than_rows(n, c):
    logits = normal(n, c)
    p = logits.softmax(1)
    norms = sorted((math.sqrt(sum(float(p[i, j]) ** 2 for i in range(n))) for j in range(c)), reverse=True)
    assert_close(Fbnm()(with_target_logits(logits)), torch.tensor(-sum(norms[: min(n, c)]) / n).double())
