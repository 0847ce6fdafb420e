"""The interval over seeds."""

import pytest

from da.report.statistics import interval


def test_the_interval_is_students():
    mean, half_width, n = interval([0.90, 0.92, 0.94])  # s = 0.02, t(0.975; 2 degrees) = 4.302653 in printed tables
    assert (mean, n) == (pytest.approx(0.92), 3)
    assert half_width == pytest.approx(4.302653 * 0.02 / 3**0.5, rel=1e-6)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_interval_is_that_of_scipy(level):
    from scipy import stats

    values = [0.31, 0.87, 0.55, 0.62, 0.49]
    low, high = stats.t.interval(level, df=4, loc=sum(values) / 5, scale=stats.sem(values))
    mean, half_width, _ = interval(values, level)
    assert (mean - half_width, mean + half_width) == (pytest.approx(low, rel=1e-9), pytest.approx(high, rel=1e-9))


def test_one_seed_has_no_interval():
    assert interval([0.9]) == (0.9, None, 1)


def test_equal_values_have_an_interval_of_zero():
    assert interval([0.5, 0.5]).half_width == 0


@pytest.mark.parametrize(("values", "level", "said"), [([], 0.95, "no values"), ([0.5, 0.6], 95, "level is 95")])
def test_nothing_or_a_wrong_level_is_refused(values, level, said):
    with pytest.raises(ValueError, match=said):
        interval(values, level)
