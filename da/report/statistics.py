"""Means over seeds, with the interval that says how far to trust them."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple


class Interval(NamedTuple):
    """`mean` +- `half_width` of `n` values; the width is None where there is no interval, n is 0 for unequal seeds."""

    mean: float
    half_width: float | None
    n: int

    def text(self, scale: float = 100.0, form: str = ".1f") -> str:
        """Return the mean with its interval and n, in percent unless another `scale` is given; never a bare number."""
        shown = self.cell(scale, form)
        if self.half_width is not None:
            return f"{shown} (n={self.n})"
        return f"{shown} (n={self.n}, no interval)" if self.n else f"{shown} (unequal seeds, no interval)"

    def cell(self, scale: float = 100.0, form: str = ".1f") -> str:
        """Return the mean with its interval alone, for a table that says what n is."""
        mean = format(scale * self.mean, form)
        return mean if self.half_width is None else f"{mean} ± {format(scale * self.half_width, form.lstrip('+'))}"


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of `values` and the half width of its two-sided interval by Student's t, t(n - 1) * s / sqrt(n).

    The unit of repetition is one seed: a full re-run, with new initial weights and a new order of the
    batches, on the same test rows. The interval is about the re-run, not about other test rows or other
    data sets. `s` is the standard deviation with n - 1; one value has no spread, so no interval: None, never 0.
    Raises ValueError on no values, or a level outside (0, 1).
    """
    if not values:
        raise ValueError("there are no values to take the mean of: give one value a seed")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but must lie between 0 and 1, e.g. 0.95")
    n = len(values)
    if n == 1:
        return Interval(float(values[0]), None, 1)
    return Interval(fmean(values), quantile(n - 1, level) * stdev(values) / n**0.5, n)


def quantile(freedom: int, level: float = 0.95) -> float:
    """Return t: Student's t with that many degrees of freedom lies within ±t in `level` of the cases."""
    from scipy.special import stdtrit  # the same quantile as scipy.stats.t.ppf, imported in a third of the time

    return float(stdtrit(freedom, (1 + level) / 2))


def average(by_unit: Sequence[Mapping[int, float]]) -> Interval:
    """Interval over seeds of each seed's mean over the units (tasks, say), each a mapping of seeds to values.

    Where the units don't have the same seeds there is only the mean of their means: no interval, and `n` is 0.
    """
    seeds = by_unit[0].keys()
    if all(by_seed.keys() == seeds for by_seed in by_unit):
        return interval([fmean(by_seed[seed] for by_seed in by_unit) for seed in seeds])
    return Interval(fmean(fmean(by_seed.values()) for by_seed in by_unit), None, 0)
