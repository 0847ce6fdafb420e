"""Classes by name: which ones there are, and whether the domains agree on them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from da.types import HIDDEN

LabelSets = Literal["closed", "partial", "open", "open_partial", "separate"]
"""closed: both domains have the same classes; partial: the source has more; open: the target has more; or both;
separate: each has its own, numbered from 0, and the network a head for each."""

SHOWN = 20  # classes listed in a message


def natural(names: Iterable[str]) -> list[str]:
    """Return names in order: by value if all are whole numbers, else by alphabet."""
    distinct = set(names)
    whole = all(name.lstrip("-").isdigit() for name in distinct)
    return sorted(distinct, key=(lambda name: (int(name), name)) if whole else None)


def match_classes(source: Iterable[str], target: Iterable[str] | None, label_sets: LabelSets) -> list[str]:
    """Return the classes to tell apart, the source's, in natural order, after comparing them with the target's.

    `target` is None where the target has no labels. Raises ValueError naming the classes that only one side has and,
    by `label_sets`, should not have for itself.
    """
    theirs = None if target is None else set(target)
    classes = natural(source)
    if theirs is None:
        return classes
    for extra, side, other, allowed in (
        (theirs - set(classes), "target", classes, "open"),
        (set(classes) - theirs, "source", theirs, "partial"),
    ):
        if extra and allowed not in label_sets:  # open_partial allows both
            raise ValueError(
                f"only the {side} has the classes {listed(extra)}; the other side has {listed(other)}. Name them "
                f"alike, or say that it is so: data.label_sets={allowed}"
            )
    return classes


def distinct(names: Sequence[str] | None, option: str) -> list[str]:
    """Return the names that an option gives, none for None; ValueError for one that stands there twice."""
    given = list(names or ())
    if repeated := {name for name in given if given.count(name) > 1}:
        raise ValueError(f"{option} names {listed(repeated)} more than once")
    return given


def class_numbers(labels: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Return class indices [N]; `HIDDEN` for a label that is empty or that `classes` lacks."""
    index: Mapping[str, int] = {name: i for i, name in enumerate(classes)}
    return torch.tensor([index.get(label, HIDDEN) for label in labels], dtype=torch.long)


def listed(names: Iterable[str]) -> str:
    """Return names for a message, in natural order, not too many of them."""
    ordered = natural(names)
    rest = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(ordered[:SHOWN]) + rest
