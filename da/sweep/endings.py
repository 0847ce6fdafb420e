"""How the jobs of a sweep ended, and the table of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

State = Literal["done", "skipped", "pruned", "failed"]
TRIAL = "LAMBDA_DA_TRIAL"
"""The environment variable that tells a job which trial of a search it is."""
STATES: tuple[State, ...] = ("done", "skipped", "pruned", "failed")
"""In the order of the table: what went wrong stands at its end, where it is seen."""


class Outcome(NamedTuple):
    """What a job returns to its launcher; one that fails raises instead."""

    state: State
    score: float | None = None  # of the selection metric, at the selected epoch
    reason: str = ""


@dataclass(frozen=True)
class Ending:
    """How a job ended; `reason` is one line."""

    number: int
    options: str
    state: State
    reason: str = ""
    score: float | None = None


ENDINGS: list[Ending] = []
"""Of the sweep that this process runs."""


def table(endings: Sequence[Ending]) -> str:
    """Return a line for each job, by the options in which it differs, those that failed last; then their numbers."""
    rows = sorted(endings, key=lambda one: (STATES.index(one.state), one.number))
    names = _differences(rows)
    wide = min(60, max(map(len, names)))
    lines = [f"{'job':>5}  {'ended':7}  options"]
    for one, name in zip(rows, names, strict=True):
        lines.append(f"{one.number:>5}  {one.state:7}  {name:{wide}}  {one.reason}".rstrip())
    counts = Counter(one.state for one in endings)
    shown = [f"{counts[state]} {state}" for state in STATES if counts[state] or state != "pruned"]
    lines.append(f"{len(endings)} jobs: {', '.join(shown)}")
    return "\n".join(lines)


def advice(endings: Sequence[Ending]) -> list[str]:
    """Return what to do about runs that were skipped or that failed, a line for each."""
    states = {one.state for one in endings}
    lines = {
        "skipped": "force=true trains complete runs again",
        "failed": "the same command again skips the runs that are complete and runs those that failed",
    }
    return [line for state, line in lines.items() if state in states]


def _differences(endings: Sequence[Ending]) -> list[str]:
    """Return the words of each job that not every job has; all of them if there is only one."""
    words = [one.options.split() for one in endings]
    shared = set(words[0]).intersection(*words) if len(words) > 1 else set()
    return [" ".join(word for word in own if word not in shared) for own in words]


def selected_score(results: dict[str, Any], selection_metric: str) -> float | None:
    """Return what results.json of a complete run says of the selection metric at the selected epoch."""
    scores = {"oracle": results["oracle"]["selected_target_acc"], **results["selected"]["validators"]}
    value = scores[selection_metric]
    return None if value is None else float(value)
