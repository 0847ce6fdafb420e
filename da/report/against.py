"""Each method against source_only: paired over seeds, corrected for the number of comparisons, harm marked."""

from collections.abc import Sequence
from typing import NamedTuple

from da.report.accuracy import NOTHING
from da.report.axes import shared_axes
from da.report.comparisons import Paired, holm, paired
from da.report.plots import BAD, GOOD, NEUTRAL, forest_plot
from da.report.results import Repetitions
from da.report.section import Section
from da.report.tables import Sheet, marked, seed_values

BASE = "source_only"
LEVEL = 0.05


class Comparison(NamedTuple):
    """One method on one task against source_only, with the p value adjusted for all comparisons of the report."""

    row: Repetitions
    task: str
    paired: Paired
    adjusted: float | None
    lacks: str  # why there is no test, or ""

    @property
    def verdict(self) -> str:
        """What the paired 95 % interval says, and whether it holds after Holm; harm is called negative transfer."""
        difference = self.paired.difference
        if difference is None:
            return self.lacks
        lower = difference.mean < 0
        if self.lacks:
            return f"{'NEGATIVE TRANSFER? below' if lower else 'not below'} {BASE}; {self.lacks}"
        if abs(difference.mean) > (difference.half_width or 0.0):
            said = f"NEGATIVE TRANSFER: below {BASE}" if lower else f"above {BASE}"
            return said if self.adjusted is not None and self.adjusted < LEVEL else f"{said}; not after Holm"
        return f"NEGATIVE TRANSFER? below {BASE}, the interval holds 0" if lower else "the interval holds 0"

    @property
    def colour(self) -> str:
        """Red for an interval below 0, green for one above, grey where it can't be told."""
        difference = self.paired.difference
        if difference is None or self.lacks or abs(difference.mean) <= (difference.half_width or 0.0):
            return NEUTRAL
        return GOOD if difference.mean > 0 else BAD


def base_of(row: Repetitions, rows: Sequence[Repetitions]) -> Repetitions | None:
    """Return source_only with the settings of a row that are not its method's own, None where it was not run."""
    same = (other for other in rows if other.method == BASE and other.data == row.data)
    return next((other for other in same if shared_axes(other) == shared_axes(row)), None)


def compare(rows: Sequence[Repetitions]) -> list[Comparison]:
    """Compare every row with its source_only on every task that it has, by test accuracy after the last epoch."""
    found = []
    for row in (row for row in rows if row.method != BASE):
        base = base_of(row, rows)
        values = {} if base is None else seed_values(base, "last")
        for task, by_seed in sorted(seed_values(row, "last").items()):
            result = paired(by_seed, values.get(task, {}))
            found.append(Comparison(row, task, result, None, _lack(result, base, task in values)))
    found.sort(key=lambda one: (one.row.data, one.task))
    tested = [i for i, one in enumerate(found) if one.paired.p is not None]
    adjusted = holm([found[i].paired.p or 0.0 for i in tested])
    for i, p in zip(tested, adjusted, strict=True):
        found[i] = found[i]._replace(adjusted=p)
    return found


def _lack(result: Paired, base: Repetitions | None, on_task: bool) -> str:
    if result.p is not None:
        return ""
    if base is None:
        return f"no {BASE} with these settings"
    if not on_task:
        return f"no {BASE} on this task"
    if result.difference is None:
        return f"no seed is shared with {BASE}"
    if result.difference.n < 2:
        return "one shared seed: no test"
    return "the differences of all seeds are equal: no test"


def against_section(rows: Sequence[Repetitions]) -> Section:
    """The differences to source_only; a sentence where it was not run."""
    title = f"Difference to {BASE}"
    if not any(row.method == BASE for row in rows):
        said = f"There is no {BASE} among the runs: whether adaptation helps or harms can't be said without it."
        return Section("against", title, [said])
    comparisons = compare(rows)
    tested = sum(one.adjusted is not None for one in comparisons)
    text = [
        f"Target test accuracy after the last epoch, minus that of {BASE} with the same seed, in percentage points. "
        "p: Student's paired t-test over shared seeds, two-sided. Holm: p adjusted for all tests of this table "
        f"(m = {tested}). Intervals are paired, to 95 %, and not adjusted.",
        f"Negative transfer: adapted below {BASE}. It is marked with a question mark where the interval holds 0, or "
        f"there is none. What the interval says and the adjusted p does not, at {LEVEL}, is marked too: the more "
        "comparisons, the more of them look like a difference by chance.",
    ]
    lines = [
        [
            one.row.data,
            one.task,
            marked(one.row),
            NOTHING if one.paired.difference is None else one.paired.difference.text(form="+.1f"),
            p_text(one.paired.p),
            p_text(one.adjusted),
            one.verdict,
        ]
        for one in comparisons
    ]
    columns = ["data", "task", "method", "difference [pp]", "p", "Holm", "verdict"]
    return Section("against", title, text, _figures(comparisons), [Sheet(title, columns, lines)])


def _figures(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    figures = []
    for data in sorted({one.row.data for one in comparisons}):
        shown = [one for one in comparisons if one.row.data == data and one.paired.difference is not None]
        names = [f"{one.task} · {marked(one.row)}" for one in shown]
        values = [one.paired.difference for one in shown if one.paired.difference is not None]
        if shown:
            title = f"{data}: difference to {BASE} [pp]"
            figures.append(forest_plot(title, names, values, [one.colour for one in shown]))
    return figures


def p_text(p: float | None) -> str:
    """Return a p value with two digits, or as below the smallest that is shown."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
