"""What a search varies: the words of the command line as distributions."""

from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def read_space(overrides: Sequence[Override]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """Return the distribution of every option that is searched, by its name, and the other options as they were.

    `interval(a,b)` is a range of whole numbers where both ends are, `tag(log,interval(a,b))` one on a logarithmic
    scale, `range(a,b,step)` has steps, and `a,b,c` or `choice(a,b,c)` are values without an order.
    """
    space: dict[str, BaseDistribution] = {}
    fixed: list[str] = []
    for override in overrides:
        if override.is_sweep_override():
            space[str(override.get_key_element())] = _distribution(override)
        else:
            fixed.append(str(override.input_line))
    if not space:
        raise HydraException(
            "hydra/sweeper=optuna has nothing to search: give an option several values, as interval(0.1,10), "
            "tag(log,interval(0.01,1)), range(1,9) or a,b,c"
        )
    return space, fixed


def _distribution(override: Override) -> BaseDistribution:
    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        assert low is not None
        assert high is not None
        try:
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=log)
            return FloatDistribution(float(low), float(high), log=log)
        except ValueError as error:
            raise HydraException(f"{override.input_line}: {error}") from error
    if override.is_range_sweep():
        values: list[Any] = list(override.sweep_iterator())
        if len(values) > 1 and all(isinstance(one, int) for one in values):
            return IntDistribution(min(values), max(values), step=abs(values[1] - values[0]))
    return CategoricalDistribution(list(override.sweep_string_iterator()))
