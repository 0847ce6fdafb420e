"""Rows that are trained on and scored, or that are in both domains."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from da.types import Role


class Content(NamedTuple):
    """What the rows of an opened domain hold."""

    name: str
    role: Role
    train: np.ndarray  # uint64 [n], a hash of each row
    test: np.ndarray  # uint64 [m]


def find_leaks(opened: Iterable[Content]) -> list[str]:
    """Say of the domains opened so far which rows are where they should not be.

    Raises ValueError for a target that the source holds all of.
    """
    contents, found = list(opened), []
    target = next((content for content in contents if content.role == "target"), None)
    for name, role, train, test in contents:
        if same := int(np.isin(test, train).sum()):
            found.append(f"leak: {same} of the {len(test)} test rows of {name} are among its training rows too")
        if role == "source" and target is not None:
            if len(target.train) and np.isin(target.train, train).all():
                raise ValueError(f"every row of the target {target.name!r} is a training row of the source {name!r}")
            scored = target.test if len(target.test) else target.train
            if same := int(np.isin(scored, train).sum()):
                found.append(
                    f"leak: {same} of the {len(scored)} rows that the target {target.name} is scored on are "
                    f"training rows of the source {name} too"
                )
    return found
