"""Cross entropy with label smoothing."""

import pytest
import torch
from conftest import make_step
from torch.testing import assert_close

from da.terms.supervised import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_moves_its_share_of_the_label_evenly_to_all_classes(smoothing):
    step, c = make_step(), 3  # Szegedy et al. 2016, sec. 7: q'(k) = (1 - epsilon) [k = y] + epsilon / c
    total = 0.0
    for y, logits in zip(step.source.y, step.source.logits, strict=True):
        for k, log_p in enumerate(logits.log_softmax(0)):
            total -= ((1 - smoothing) * (k == int(y)) + smoothing / c) * float(log_p)
    assert_close(CrossEntropy(label_smoothing=smoothing)(step), torch.tensor(total / len(step.source.y)).double())


def test_all_of_the_label_smoothed_away_reads_no_label():
    step = make_step()
    other = step._replace(streams={"source": step.source._replace(y=torch.zeros_like(step.source.y))})
    term = CrossEntropy(label_smoothing=1.0)
    assert_close(term(step), term(other))
