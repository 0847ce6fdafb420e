"""Successive halving over candidates, within a time budget (Jamieson & Talwalkar 2016)."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from da.auto.plan import Candidate, Settings


class Trial(NamedTuple):
    """A candidate that was trained for a part of the whole length."""

    score: float  # of the validator that decides
    seconds: float


@dataclass
class Entry:
    """A line of the report: what became of a candidate in a rung."""

    candidate: Candidate
    part: float
    trial: Trial | None = None
    reason: str = ""  # why there is no trial


Train = Callable[[Candidate, float], Trial]


def halve(
    candidates: Sequence[Candidate], settings: Settings, train: Train, clock: Callable[[], float] = time.monotonic
) -> list[Entry]:
    """Train all candidates a little, the better ones longer, the best ones to the end; return what happened.

    The first candidate is the baseline: it is in every rung and takes no place in it. A candidate is not begun if by
    the seconds that trials took so far it, and after it the baseline and one candidate at full length, would end after
    the deadline; it then ranks behind those that were. The baseline is trained to the end whatever it takes. A
    candidate that fails is out.

    Args:
        candidates: the baseline first.
        settings: rungs, part that goes on, minutes.
        train: trains a candidate for a part of the length. What it raises of ValueError, RuntimeError, ArithmeticError
            or OSError is a failure of this candidate.
        clock: seconds.
    """
    deadline = clock() + 60 * settings.minutes
    baseline, alive = candidates[0], list(candidates[1:])
    entries: list[Entry] = []
    cost = 0.0  # seconds of the whole length: the dearest that was seen
    for part in settings.rungs:
        rung: list[Entry] = []
        waiting: list[Candidate] = []
        for candidate in [baseline, *alive]:
            entry = Entry(candidate, part)
            entries.append(entry)
            reserved = 2 * cost if part < 1 else 0.0
            if candidate is not baseline and clock() + part * cost + reserved > deadline:
                entry.reason = "no time left"
                waiting.append(candidate)
                continue
            try:
                entry.trial = train(candidate, part)
            except (ValueError, RuntimeError, ArithmeticError, OSError) as error:
                if candidate is baseline:
                    raise
                entry.reason = " ".join(str(error).split())
                continue
            cost = max(cost, entry.trial.seconds / part)
            if candidate is not baseline:
                rung.append(entry)
        rung.sort(key=lambda entry: -entry.trial.score if entry.trial else math.inf)
        ranked = [*(entry.candidate for entry in rung), *waiting]
        alive = ranked[: math.ceil(settings.keep * len(ranked))]
    return entries
