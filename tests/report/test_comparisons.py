"""Tests between methods, against numbers worked out by hand and against scipy."""

import math

import pytest

from da.report.comparisons import FEWEST_TASKS, holm, paired, rank_test, ranked
from da.report.quality import spearman, weighted


def test_the_paired_test_is_students_over_shared_seeds():
    # differences 0.01, 0.03, 0.02: mean 0.02, s = 0.01, t = 2 sqrt(3); seeds 3 and 4 are not shared
    result = paired({0: 0.81, 1: 0.83, 2: 0.82, 3: 0.1}, {0: 0.8, 1: 0.8, 2: 0.8, 4: 0.9})
    assert result.difference.mean == pytest.approx(0.02)
    assert result.difference.half_width == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert result.difference.n == 3
    # with 2 degrees of freedom P(|T| > t) = 1 - t / sqrt(t^2 + 2), in closed form
    t = 2 * math.sqrt(3)
    assert result.p == pytest.approx(1 - t / math.sqrt(t**2 + 2))


def test_the_paired_test_is_that_of_scipy():
    from scipy.stats import ttest_rel

    a, b = [0.71, 0.64, 0.69, 0.8], [0.66, 0.65, 0.6, 0.74]
    assert paired(dict(enumerate(a)), dict(enumerate(b))).p == pytest.approx(ttest_rel(a, b).pvalue)


def test_without_two_shared_seeds_or_a_spread_there_is_no_test():
    assert paired({0: 0.5}, {1: 0.5}) == (None, None)
    assert paired({0: 0.6}, {0: 0.5}).p is None
    assert paired({0: 0.6}, {0: 0.5}).difference == (pytest.approx(0.1), None, 1)
    assert paired({0: 0.6, 1: 0.7}, {0: 0.5, 1: 0.6}).p is None


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04; none below a smaller p's
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_equal_values_share_the_mean_of_their_ranks():
    assert ranked([0.5, 0.9, 0.9, 0.1]) == [3.0, 1.5, 1.5, 4.0]


def test_friedman_and_nemenyi_by_hand():
    # a before b before c on 5 tasks: mean ranks 1, 2, 3; chi2 = 12 * 5 / 12 * (14 - 3 * 16 / 4) = 10; p = exp(-10 / 2)
    tasks = [str(k) for k in range(5)]
    result = rank_test({m: dict.fromkeys(tasks, v) for m, v in (("a", 0.9), ("b", 0.8), ("c", 0.7))})
    assert (result.mean, result.tasks) == ({"a": 1, "b": 2, "c": 3}, 5)
    assert (result.statistic, result.p) == (pytest.approx(10), pytest.approx(math.exp(-5)))
    # q = 2.343 for 3 methods in table 5a of Demsar 2006
    assert result.critical_difference == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 5)), rel=1e-3)


def test_friedman_with_ties_is_that_of_scipy():
    from scipy.stats import friedmanchisquare

    table = {"a": [3, 1, 2, 2, 5, 4], "b": [3, 2, 1, 2, 4, 4], "c": [1, 3, 3, 2, 6, 1]}
    expected = friedmanchisquare(*table.values())
    result = rank_test({method: dict(zip("uvwxyz", values, strict=True)) for method, values in table.items()})
    assert (result.statistic, result.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


def test_two_methods_can_be_ranked_and_equal_ones_do_not_differ():
    same = dict.fromkeys("abcde", 0.5)
    assert rank_test({"x": same, "y": same}).p == 1
    better = rank_test({"x": same, "y": dict.fromkeys("abcde", 0.6)})
    assert better.statistic == pytest.approx(5)  # 12 * 5 / 6 * (1 + 4 - 2 * 9 / 4)


@pytest.mark.parametrize("methods", [1, 2])
def test_too_few_methods_or_tasks_are_refused(methods):
    few = {str(m): dict.fromkeys("abcdefgh"[: FEWEST_TASKS - (methods == 2)], 0.5) for m in range(methods)}
    with pytest.raises(ValueError, match="ranks need 2 methods and 5 tasks"):
        rank_test(few)


def naive_weighted_tau(x, y):
    """Sum of signs over pairs, each by 1 / (r + 1) + 1 / (s + 1), for the ranks by x and for those by y."""
    found = []
    for by in (x, y):
        rank = [sum(other > value for other in by) for value in by]
        pairs = [(i, j) for i in range(len(x)) for j in range(i)]
        weight = {(i, j): 1 / (rank[i] + 1) + 1 / (rank[j] + 1) for i, j in pairs}
        sign = {(i, j): math.copysign(1, (x[i] - x[j]) * (y[i] - y[j])) for i, j in pairs}
        found.append(sum(weight[p] * sign[p] for p in pairs) / sum(weight.values()))
    return sum(found) / 2


def test_the_weighted_correlation_is_its_naive_sum():
    x, y = [0.3, 0.1, 0.5, 0.2, 0.9, 0.4], [0.6, 0.2, 0.4, 0.3, 0.8, 0.7]
    assert weighted(x, y) == pytest.approx(naive_weighted_tau(x, y))


def test_a_mistake_among_the_best_costs_more_than_one_among_the_worst():
    true = [1, 2, 3, 4, 5, 6]
    assert weighted([1, 2, 3, 4, 6, 5], true) < weighted([2, 1, 3, 4, 5, 6], true)
    assert spearman([1, 2, 3, 4, 6, 5], true) == pytest.approx(spearman([2, 1, 3, 4, 5, 6], true))


def test_spearman_by_hand():
    # squared differences of ranks 1, 1, 0, 0: 1 - 6 * 2 / (4 * 15)
    assert spearman([1, 2, 3, 4], [0.2, 0.1, 0.3, 0.4]) == pytest.approx(0.8)


@pytest.mark.parametrize("scores", [[1, 2], [1, 1, 1]])
@pytest.mark.parametrize("measure", [spearman, weighted])
def test_too_few_or_constant_scores_have_no_correlation(measure, scores):
    assert measure(scores, [0.1, 0.2, 0.3][: len(scores)]) is None
