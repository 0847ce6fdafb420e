"""FixMatch against eq. 4 in loops."""

import math

import pytest
import torch
from conftest import normal, views
from torch.testing import assert_close

from da.terms.fixmatch import FixMatch


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_fixmatch_equals_equation_4_in_loops(temperature):
    weak, strong = 2 * normal(9, 3), normal(9, 3, seed=1)
    total, kept = 0.0, 0
    for q_logits, p_logits in zip(weak, strong, strict=True):
        q, log_p = q_logits.softmax(0), p_logits.log_softmax(0)
        if float(q.max()) < 0.7:
            continue
        kept += 1
        wanted = [float(k == int(q.argmax())) for k in range(3)]
        if temperature is not None:
            powers = [float(x) ** (1 / temperature) for x in q]
            wanted = [x / sum(powers) for x in powers]
        total -= sum(w * float(x) for w, x in zip(wanted, log_p, strict=True))
    assert 0 < kept < 9
    term = FixMatch(0.7, temperature)
    assert_close(term(views(weak, strong)), torch.tensor(total / 9).double())
    assert_close(term.measures["kept"], torch.tensor(kept / 9).double())


def test_uniform_predictions_on_the_strong_view_cost_log_c_a_kept_row():
    weak = 1e4 * torch.eye(3).double()[[0, 1, 2, 0]]
    weak[3] = 0  # below the threshold
    assert_close(FixMatch()(views(weak, torch.zeros(4, 3).double())), torch.tensor(0.75 * math.log(3)).double())


def test_the_weak_view_is_constant():
    weak, strong = (2 * normal(9, 3)).requires_grad_(), normal(9, 3, seed=1).requires_grad_()
    FixMatch(0.5, temperature=0.5)(views(weak, strong)).backward()
    assert weak.grad is None
    assert strong.grad.abs().sum() > 0


@pytest.mark.parametrize("options", [{"threshold": -0.5}, {"temperature": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="threshold must lie|temperature must be positive"):
        FixMatch(**options)
