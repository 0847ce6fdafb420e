import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from da.schedules import Constant, InverseDecay, Linear, Ramp, Warmup

PROGRESS = st.floats(0, 1)


@given(PROGRESS)
def test_ramp_is_the_papers_formula(p):
    assert Ramp(2.0, 10.0)(p) == pytest.approx(2 * (2 / (1 + math.exp(-10 * p)) - 1))


@given(PROGRESS, PROGRESS)
def test_rising_schedules_rise(p, q):
    p, q = sorted((p, q))
    for schedule in (Linear(0.0, 2.0), Ramp(), Warmup(1.0, 0.2, 0.6)):
        assert schedule(p) <= schedule(q)


def test_ends():
    assert [Linear(1.0, 3.0)(p) for p in (0.0, 0.5, 1.0)] == [1.0, 2.0, 3.0]
    assert Ramp()(0.0) == 0.0
    assert [Warmup(2.0, 0.2, 0.6)(p) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == [0.0, 0.0, pytest.approx(1.0), 2.0, 2.0]
    assert Constant(0.7)(0.3) == 0.7
    assert InverseDecay()(0.0) == 1.0
    assert InverseDecay()(1.0) == pytest.approx(11**-0.75)


def test_a_step_at_once_is_a_warm_up_of_no_length():
    assert [Warmup(1.0, 0.5, 0.5)(p) for p in (0.49, 0.5)] == [0.0, 1.0]


def test_warm_up_refuses_to_end_before_it_starts():
    with pytest.raises(ValueError, match="start=0.5, end=0.2"):
        Warmup(1.0, 0.5, 0.2)
