"""Tables of results: methods against tasks, or one row a run, for people and for programs."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from da.report.results import NETWORK_COSTS, Metric, Repetitions, Result, newest, repetitions
from da.report.statistics import Interval, average, interval

Format = Literal["table", "markdown", "csv", "json"]
Record = Mapping[str, str | int | float | None]

_ACCURACY: dict[Metric, str] = {
    "last": "after the last epoch",
    "selected": "at the epoch selected by {by}",
    "oracle": "of the best epoch, an ORACLE: target labels chose it",
}
TEXT = {"method", "data", "task", "folder", "candidate", "score"} | {
    *("verdict", "validator", "over", "class", "domain", "hash", "labels", "fitted", "on", "reason", "leak", "seeds"),
    *("best classes", "worst classes", "status", "number"),
}
"""Columns of text, aligned to the left."""
_FIELDS = ["method", "settings", "target_labels", "data", "task", "metric", "mean", "half_width", "n", "seeds"]


@dataclass(frozen=True)
class Sheet:
    """One table as text: the first column names the row."""

    name: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Report:
    """Sheets for people, the same numbers as `records` (in fractions, unrounded) for programs, and what to know."""

    title: str
    sheets: list[Sheet]
    fields: list[str]
    records: list[Record]
    notes: list[str]


def comparison(results: Sequence[Result], metric: Metric = "last") -> Report:
    """Target test accuracy, methods by tasks, a sheet for each data set; only complete runs are averaged.

    The average over tasks stands where a method has all tasks. Its interval is over seeds, of each seed's
    average; if the tasks don't have the same seeds there is none, and no number of seeds: n is 0.
    """
    groups = repetitions(results)
    sheets, records = [], []
    for data in sorted({group.data for group in groups}):
        of_data = [group for group in groups if group.data == data]
        tasks = sorted({run.task for group in of_data for run in group.runs})
        columns = [*tasks, "average"] if len(tasks) > 1 else tasks
        rows = []
        for group in of_data:
            values = seed_values(group, metric)
            cells = {task: interval(list(by_seed.values())) for task, by_seed in values.items()}
            if len(tasks) > 1 and len(values) == len(tasks):
                cells["average"] = average(list(values.values()))
            rows.append([marked(group), *(_percent(cells[column]) if column in cells else "-" for column in columns)])
            seeds = {**values, "average": next(iter(values.values()), {})}
            records += [
                _record(group, column, metric, cells[column], seeds[column]) for column in columns if column in cells
            ]
        oracle = " ORACLE" if metric == "oracle" else ""
        sheets.append(Sheet(data, ["method", *(column + oracle for column in columns)], rows))
    validators = sorted({str(run.selection_metric) for group in groups for run in group.runs})
    accuracy = _ACCURACY[metric].format(by=" or ".join(validators))
    title = f"Target test accuracy [%] {accuracy}: mean ± 95 % interval over seeds (number of seeds)"
    return Report(title, sheets, _FIELDS, records, [*notes_on(results, groups), *_gaps(groups, metric)])


def seed_values(group: Repetitions, metric: Metric) -> dict[str, dict[int, float]]:
    """Return the accuracies of a group that are known, by task and seed."""
    values: dict[str, dict[int, float]] = {}
    for run in group.runs:
        if (accuracy := run.target_acc.get(metric)) is not None:
            values.setdefault(run.task, {})[run.seed] = accuracy
    return values


def _percent(cell: Interval) -> str:
    return cell.cell() + (f" ({cell.n})" if cell.n else "")


def marked(group: Repetitions) -> str:
    """Return the name of a group, with a dagger where it has used target labels."""
    return f"{group.name} †" if group.target_labels else group.name


def _record(group: Repetitions, task: str, metric: Metric, cell: Interval, seeds: Iterable[int]) -> Record:
    identity = {"method": group.method, "settings": group.settings, "target_labels": " ".join(group.target_labels)}
    where = {"data": group.data, "task": task, "metric": metric}
    return {**identity, **where, **cell._asdict(), "seeds": " ".join(map(str, sorted(seeds))) if cell.n else ""}


def runs_table(results: Sequence[Result]) -> Report:
    """One row for each complete run, with everything that was measured on it."""
    groups = repetitions(results)
    validators = sorted({name for group in groups for run in group.runs for name in run.validators})
    fields = ["method", "settings", "data", "task", "seed", "target_acc_last", "target_acc_selected", "source_acc_last"]
    costs = [name for name in NETWORK_COSTS if any(name in run.network for group in groups for run in group.runs)]
    fields += [*(f"validator/{name}" for name in validators), *costs, "seconds", "folder"]
    records: list[Record] = []
    rows = []
    for group in groups:
        for run in group.runs:
            accuracies = [run.target_acc.get("last"), run.target_acc.get("selected"), run.source_acc.get("last")]
            scores = [run.validators.get(name) for name in validators]
            name, where = (group.method, group.settings), (run.data, run.task, run.seed)
            network = [run.network.get(cost) for cost in costs]
            values = (*name, *where, *accuracies, *scores, *network, run.seconds, str(run.folder))
            records.append(dict(zip(fields, values, strict=True)))
            percents = [_number(None if value is None else 100 * value, ".1f") for value in accuracies]
            shown = [*percents, *(_number(score, ".4g") for score in scores)]
            shown += [*(_number(cost and cost / 1e6, ".4g") for cost in network), _number(run.seconds, ".1f")]
            rows.append([marked(group), *map(str, where), *shown, str(run.folder)])
    columns = ["method", "data", "task", "seed", "target last", "target selected", "source last", *validators]
    columns += [f"{cost.replace('_', ' ')} [M]" for cost in costs]
    sheet = Sheet("runs", [*columns, "seconds", "folder"], rows)
    title = "Runs: test accuracies [%], validators of the last epoch (higher is better), seconds"
    return Report(title, [sheet] if rows else [], fields, records, notes_on(results, groups))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def notes_on(results: Sequence[Result], groups: Sequence[Repetitions]) -> list[str]:
    """Return what a reader has to know: labels used, runs that are left out, versions of the code."""
    notes = []
    if uses := sorted({f"{g.name}: {', '.join(g.target_labels)}" for g in groups if g.target_labels}):
        notes.append(f"† has used target labels ({'; '.join(uses)})")
    complete = [run for run in results if run.status == "complete"]
    if incomplete := [run for run in results if run.status != "complete"]:
        folders = "; ".join(f"{run.folder} ({_one_line(run.status, run.error)})" for run in incomplete)
        notes.append(f"not complete and not averaged: {_count(incomplete)}: {folders}")
    kept = newest(complete)
    if older := [run for run in complete if run not in kept]:
        folders = "; ".join(str(run.folder) for run in older)
        notes.append(f"superseded by a newer run of the same method, task, seed and config: {_count(older)}: {folders}")
    for group in groups:
        by_task = {run.task: ", ".join(f"{k}={v}" for k, v in sorted(run.overrides.items())) for run in group.runs}
        if len(set(by_task.values())) > 1:
            settings = "; ".join(f"{task}: {setting or 'defaults'}" for task, setting in by_task.items())
            notes.append(f"the tasks of {group.name} have settings of their own ({settings})")
    versions = sorted({f"{(run.git_commit or 'unknown')[:7]}{' with changes' * run.git_dirty}" for run in kept})
    if len(versions) > 1 or any(run.git_dirty for run in kept):
        notes.append(f"versions of the code: {', '.join(versions)}")
    return notes


def _gaps(groups: Sequence[Repetitions], metric: Metric) -> list[str]:
    notes = []
    if lacking := [run for group in groups for run in group.runs if run.target_acc.get(metric) is None]:
        folders = "; ".join(str(run.folder) for run in lacking)
        notes.append(f"complete, but without an accuracy {metric!r}: {_count(lacking)}: {folders}")
    if any(len({frozenset(v) for v in seed_values(group, metric).values()}) > 1 for group in groups):
        notes.append("an average without an interval is over tasks that don't have the same seeds")
    return notes


def _count(runs: Sequence[Result]) -> str:
    return f"{len(runs)} run" + "s" * (len(runs) != 1)


def _one_line(status: str, error: str | None) -> str:
    return " ".join(f"{status}: {error}".split()) if error else status


def render(report: Report, form: Format) -> str:
    """The whole report as plain text, ending in a newline. CSV has the records only: its notes are for elsewhere."""
    return {"table": _plain, "markdown": _markdown, "csv": _csv, "json": _json}[form](report)


def _plain(report: Report) -> str:
    lines = [report.title, ""]
    for sheet in report.sheets:
        lines += [f"{sheet.name}:"] if len(report.sheets) > 1 else []
        table = [sheet.columns, *sheet.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = zip(row, sheet.columns, widths, strict=True)
            aligned = [cell.ljust(width) if column in TEXT else cell.rjust(width) for cell, column, width in cells]
            lines.append("  ".join(aligned).rstrip())
        lines.append("")
    return "\n".join([*lines, *report.notes]).rstrip() + "\n"


def _markdown(report: Report) -> str:
    lines = [_escaped(report.title), ""]
    for sheet in report.sheets:
        lines += [f"**{_escaped(sheet.name)}**", ""] if len(report.sheets) > 1 else []
        table = [sheet.columns, ["---" if column in TEXT else "---:" for column in sheet.columns], *sheet.rows]
        lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in table]
        lines.append("")
    return "\n".join([*lines, *(f"- {_escaped(note)}" for note in report.notes)]).rstrip() + "\n"


def _escaped(text: str) -> str:
    return "".join("\\" + letter if letter in "\\|*<`" else letter for letter in text)


def _csv(report: Report) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, report.fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(report.records)
    return text.getvalue()


def _json(report: Report) -> str:
    content = {"schema": "da.report/1", "title": report.title, "records": report.records, "notes": report.notes}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def print_rich(report: Report) -> None:
    """Print the report to a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for sheet in report.sheets:
        table = Table(title=Text(sheet.name), title_justify="left")
        for column in sheet.columns:
            table.add_column(Text(column), justify="left" if column in TEXT else "right", overflow="fold")
        for row in sheet.rows:
            table.add_row(*map(Text, row))
        console.print(table)
    console.print(Text("\n".join([report.title, *report.notes])))
