"""The validations of a run as results.json holds them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Epoch(NamedTuple):
    """One validation: each validator's raw value (higher is better), and the ORACLE accuracy on target train rows."""

    number: int
    validators: Mapping[str, float | None]
    target_acc: float | None


def read_epochs(raw: Iterable[Mapping[str, Any]] | None) -> tuple[Epoch, ...]:
    """Return the validations in their order; none for files from before they were kept."""
    return tuple(
        Epoch(one["epoch"], numbers(one["validators"]), numbers(one["oracle"]).get("target_acc")) for one in raw or ()
    )


def numbers(named: Mapping[str, Any] | None) -> dict[Any, float | None]:
    """Return a mapping of names to numbers or None; TypeError naming a value that is neither."""
    for name, value in (named or {}).items():
        if not isinstance(value, int | float | None):
            raise TypeError(f"{name} is {value!r}, not a number")
    return dict(named or {})
