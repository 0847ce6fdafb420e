"""Tests between methods: paired over seeds, corrected for their number, and by ranks over tasks."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from da.report.statistics import Interval, interval

FEWEST_TASKS = 5
"""Below, Friedman's test can't reject whatever the ranks: of two methods on 4 tasks, the least p is 0.125."""


class Paired(NamedTuple):
    """Differences of two methods over the seeds that both have; `p` is None where there is no test."""

    difference: Interval | None  # None where no seed is shared
    p: float | None


class Ranks(NamedTuple):
    """Mean rank of each method over tasks, 1 for the best, with the tests of Friedman and Nemenyi."""

    mean: Mapping[str, float]
    tasks: int
    statistic: float
    p: float
    critical_difference: float


def paired(values: Mapping[int, float], base: Mapping[int, float]) -> Paired:
    """Student's paired t-test of `values` - `base`, two-sided, over the seeds that both have.

    t = mean(d) / (s_d / sqrt(n)) with n - 1 degrees of freedom; the interval is that of the differences, to 95 %.
    With one shared seed there is a difference and no test; neither is there one where all differences are equal, as
    they have no spread to compare with.
    """
    seeds = sorted(values.keys() & base.keys())
    if not seeds:
        return Paired(None, None)
    differences = [values[seed] - base[seed] for seed in seeds]
    n = len(differences)
    # equal but for rounding in the 16th digit
    if n < 2 or stdev(differences) < 1e-12:
        return Paired(interval(differences), None)
    from scipy.special import stdtr

    t = fmean(differences) / (stdev(differences) / n**0.5)
    return Paired(interval(differences), float(2 * stdtr(n - 1, -abs(t))))


def holm(ps: Sequence[float]) -> list[float]:
    """Return the p values adjusted by Holm (1979) for all of `ps`, in their order.

    The k-th smallest of m, from 0, is multiplied by m - k; none is less than a smaller p's, or above 1.
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for k, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - k) * ps[i]))
        adjusted[i] = largest
    return adjusted


def ranked(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, 1 for the largest; equal ones share the mean of their ranks."""
    return [
        sum(other > value for other in values) + (1 + sum(other == value for other in values)) / 2 for value in values
    ]


def rank_test(accuracies: Mapping[str, Mapping[str, float]]) -> Ranks:
    """Friedman's test of equal ranks and Nemenyi's critical difference, from accuracies by method and task.

    With k methods, N tasks and mean ranks R: chi2 = 12 N / (k (k + 1)) * (sum R^2 - k (k + 1)^2 / 4), divided by
    1 - sum(t^3 - t) / (N k (k^2 - 1)) over groups of t ties, with k - 1 degrees of freedom. Two methods differ at 5 %
    if their ranks do by CD = q sqrt(k (k + 1) / (6 N)), q the 95 % quantile of the studentised range of k groups,
    divided by sqrt(2) (Demsar, JMLR 2006). Raises ValueError for fewer than 2 methods or `FEWEST_TASKS` tasks, or
    methods without the same tasks.
    """
    tasks = sorted(next(iter(accuracies.values()), {}))
    k, n = len(accuracies), len(tasks)
    if k < 2 or n < FEWEST_TASKS:
        raise ValueError(f"ranks need 2 methods and {FEWEST_TASKS} tasks that each of them has: there are {k} and {n}")
    if any(sorted(by_task) != tasks for by_task in accuracies.values()):
        raise ValueError("each method needs the same tasks")
    from scipy.special import chdtrc
    from scipy.stats import studentized_range

    by_task = [ranked([accuracies[method][task] for method in accuracies]) for task in tasks]
    mean = {method: fmean(ranks[i] for ranks in by_task) for i, method in enumerate(accuracies)}
    ties = sum(t**3 - t for ranks in by_task for t in (ranks.count(rank) for rank in set(ranks)))
    spread = 12 * n / (k * (k + 1)) * (sum(rank**2 for rank in mean.values()) - k * (k + 1) ** 2 / 4)
    untied = 1 - ties / (n * k * (k**2 - 1))
    statistic = spread / untied if untied > 0 else 0.0  # all methods equal on all tasks
    q = float(studentized_range.ppf(0.95, k, math.inf)) / 2**0.5
    return Ranks(mean, n, statistic, float(chdtrc(k - 1, statistic)), q * (k * (k + 1) / (6 * n)) ** 0.5)
