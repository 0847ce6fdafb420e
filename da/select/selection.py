"""What is chosen in the end, and how that is told."""

from collections.abc import Sequence
from typing import NamedTuple

from da.report.statistics import Interval
from da.report.tables import Record, Report, Sheet
from da.select.choice import BASELINE, Choice, Option, Task, Weights
from da.select.guard import Verdict, baseline, judge


class Selection(NamedTuple):
    """The choice of a task, and what the guard says of it."""

    task: Task
    choice: Choice
    verdict: Verdict | None  # None where the guard was not asked, or could not say
    unguarded: str  # why it could not say; empty if it could
    chosen: Option  # the best, or source-only where the verdict is that adaptation hurts


def selected(task: Task, choice: Choice, guard: bool = True) -> Selection:
    """Return the best option, or source-only where the guard says that adaptation seems to hurt."""
    best = choice.best
    if not guard or best.method == BASELINE:
        return Selection(task, choice, None, "", best)
    plain = baseline(task)
    if plain is None:
        return Selection(task, choice, None, "there is no source_only run of this task", best)
    try:
        verdict = judge(best, plain)
    except ValueError as error:
        return Selection(task, choice, None, str(error), best)
    return Selection(task, choice, verdict, "", best if verdict.helps else plain)


def report(selections: Sequence[Selection], weights: Weights) -> Report:
    """Return a sheet a task, best option first, and in the notes what was chosen, by whom, and what an oracle takes.

    Target accuracies are shown where there are labels, in a column named ORACLE. They choose nothing, unless
    `--by oracle` was asked for.
    """
    sheets, records, notes = [], [], []
    for one in selections:
        name = f"{one.task.data} {one.task.name}"
        sheets.append(_sheet(name, one))
        records += _records(one, weights)
        notes += [f"{name}: {line}" for line in _said(one)]
    by = selections[0].choice.by
    title = f"Options by {by}, weights {weights}: mean ± 95 % interval over seeds (number of seeds), best first"
    fields = ["data", "task", "rank", "method", "by", "score", "half_width", "n", "chosen", "oracle_target_acc", "runs"]
    return Report(title, sheets, fields, records, notes)


def _sheet(name: str, one: Selection) -> Sheet:
    columns = ["method", one.choice.by, "target accuracy ORACLE"]
    rows = []
    for option, score in one.choice.ranked:
        mark = " †" if option.target_labels else ""
        chosen = " *" if option is one.chosen else ""
        rows.append([f"{option.name}{mark}{chosen}", _shown(score, 1.0, ".4g"), _accuracy(option)])
    rows += [[option, "-", "-"] for option in one.choice.left_out]
    return Sheet(name, columns, rows)


def _records(one: Selection, weights: Weights) -> list[Record]:
    records: list[Record] = []
    for rank, (option, score) in enumerate(one.choice.ranked, start=1):
        accuracy = option.target_acc()
        records.append(
            {
                "data": one.task.data,
                "task": one.task.name,
                "rank": rank,
                "method": option.name,
                "by": f"{one.choice.by} ({weights})",
                "score": score.mean,
                "half_width": score.half_width,
                "n": len(option.runs),
                "chosen": int(option is one.chosen),
                "oracle_target_acc": None if accuracy is None else accuracy.mean,
                "runs": " ".join(str(run.folder) for run in option.runs.values()),
            }
        )
    return records


def _said(one: Selection) -> list[str]:
    best, verdict = one.choice.best, one.verdict
    lines = []
    votes = f"{verdict.in_favour} of {len(verdict.votes)} votes are for it against {BASELINE}" if verdict else ""
    if verdict is not None and not verdict.helps:
        lines.append(f"{best.name} is best by {one.choice.by}, but only {votes} ({_votes(verdict)})")
    lines.append(f"chosen: {one.chosen.name}, in {', '.join(str(run.folder) for run in one.chosen.runs.values())}")
    if verdict is not None and verdict.helps:
        lines.append(f"{votes} ({_votes(verdict)})")
    if one.unguarded:
        lines.append(f"no guard against negative transfer: {one.unguarded}; train method={BASELINE} by the same recipe")
    if one.chosen.target_labels:
        lines.append(f"† its training has read target labels ({', '.join(one.chosen.target_labels)})")
    lines += [f"{name} is not compared: {reason}" for name, reason in one.choice.left_out.items()]
    known = [(option, found) for option in one.task.options if (found := option.target_acc())]
    mine = one.chosen.target_acc()
    if known and mine is not None:
        oracle, accuracy = max(known, key=lambda pair: pair[1].mean)
        lines.append(
            f"ORACLE, by target labels: {oracle.name}, {100 * accuracy.mean:.1f} %, "
            f"{100 * (accuracy.mean - mine.mean):.1f} points above the choice"
        )
    return lines


def _votes(verdict: Verdict) -> str:
    return ", ".join(f"{name} {difference:+.3g}" for name, difference in verdict.votes.items())


def _accuracy(option: Option) -> str:
    found = option.target_acc()
    return "-" if found is None else _shown(found, 100.0, ".1f")


def _shown(value: Interval, scale: float, form: str) -> str:
    return f"{value.cell(scale, form)} ({value.n})"
