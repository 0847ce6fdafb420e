"""Batch spectral penalization as a term."""

import pytest
import torch
from conftest import make_step
from torch.testing import assert_close

from da.terms.bsp import Bsp


@pytest.mark.parametrize("k", [1, 2, 5])
def test_bsp_is_the_sum_of_the_squares_of_both_domains_largest_singular_values(k):
    step = make_step()
    expected = sum(torch.linalg.svdvals(rows.z)[:k].square().sum() for rows in (step.source, step.target))
    assert_close(Bsp(k)(step), expected)


def test_no_singular_value_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        Bsp(0)
