"""results.csv of the runs of a suite, and table.md of results.csv."""

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from da.benchmark.plan import Run
from da.benchmark.suite import Rows, Suite, read_rows
from da.record import recorded, write_whole
from da.report.statistics import interval

IDENTITY = ("task", "source", "target", "method", "seed")
MEASURED = {
    "target_acc_last": "test.target_acc.last",
    "target_acc_selected": "test.target_acc.selected",
    "target_macro_f1_last": "test.target_macro_f1.last",
    "source_acc_last": "test.source_acc.last",
}
COST = {"seconds": "cost.seconds", "steps": "steps"}
METRICS = {
    "target_acc_last": "Target test accuracy, %",
    "target_macro_f1_last": "Target test macro-F1, %",
    "forgetting": "Forgetting, the source test accuracy that was lost since the start, in points",
}
LABELLED = ("target_only", "finetune", "labeled_only")
"""Methods that are shown target labels, all or some, where no column `target_labels` says it; they are marked."""


def columns(suite: Suite) -> tuple[str, ...]:
    """Columns of results.csv."""
    return (*IDENTITY, *MEASURED, *suite.columns, *COST, "config_hash", "git_commit")


def collected(suite: Suite, runs: Sequence[Run]) -> Rows:
    """One row a complete run. Accuracies on test rows, as fractions."""
    rows = []
    for run in runs:
        results = recorded(run.folder, run.config_hash)
        if results.get("status") == "complete":
            known = {name: results[name] for name in ("source", "target", "seed", "git_commit")}
            known |= {"task": run.key.task, "method": run.key.method, "config_hash": run.identity}
            measured = {**MEASURED, **suite.columns, **COST}
            known |= {
                name: _short(_at(results, path), 1 if name == "seconds" else 5) for name, path in measured.items()
            }
            rows.append({name: "" if known[name] is None else str(known[name]) for name in columns(suite)})
    return rows


def _at(results: Mapping[str, Any], path: str) -> object:
    value: Any = results
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _short(value: object, digits: int) -> object:
    return f"{value:.{digits}f}" if isinstance(value, float) else value


def write_results(suite: Suite, runs: Sequence[Run]) -> Rows:
    """Bring results.csv up to date with `runs`, all runs of the suite, and return its rows, in the order of `runs`.

    A run that is complete in its folder replaces its row. Another row stays as long as the suite has a run of this
    configuration: results that were trained elsewhere are not lost by training some of them again.
    """
    identities = {run.identity for run in runs}
    rows = {row["config_hash"]: row for row in read_rows(suite.results) if row["config_hash"] in identities}
    rows |= {row["config_hash"]: row for row in collected(suite, runs)}
    ordered = [rows[run.identity] for run in runs if run.identity in rows]
    if ordered or suite.results.exists():
        text = io.StringIO()
        writer = csv.DictWriter(text, columns(suite), restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
        write_whole(suite.results, text.getvalue())
    return ordered


def values(rows: Rows, metric: str) -> dict[tuple[str, str], dict[int, float]]:
    """Percent by seed, of every row of the table and task."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        if row[metric]:
            found[row["method"], row["task"]][int(row["seed"])] = 100 * float(row[metric])
    return dict(found)


def seed_means(rows: Rows, metric: str, tasks: Sequence[str]) -> dict[str, dict[int, float]]:
    """Mean over `tasks` in percent by method and seed, of the seeds that have them all."""
    found = values(rows, metric)
    means: dict[str, dict[int, float]] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        of_tasks = [found.get((method, task), {}) for task in tasks]
        seeds = sorted(set.intersection(*map(set, of_tasks))) if of_tasks else []
        means[method] = {seed: sum(by_seed[seed] for by_seed in of_tasks) / len(tasks) for seed in seeds}
    return means


def cell(numbers: Sequence[float]) -> str:
    """Mean ± 95 % interval over the seeds."""
    return interval(numbers).cell(scale=1) if numbers else ""


def table(suite: Suite, rows: Rows, metric: str) -> list[str]:
    """Markdown: mean ± 95 % interval over the seeds for every method and task, and what others published."""
    found = values(rows, metric)
    tasks = [task for task in suite.tasks if any(row["task"] == task for row in rows)]
    means = seed_means(rows, metric, tasks)
    mean = len(tasks) > 1
    heads = [_title(rows, task) for task in tasks] + ["mean"] * mean
    lines = ["| method | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for method in suite.methods:
        if not any((method, task) in found for task in tasks):
            continue
        cells = [cell(list(found.get((method, task), {}).values())) for task in tasks]
        bold = cell(list(means[method].values()))
        cells += [f"**{bold}**" if bold else ""] * mean
        lines.append(f"| {method}{' †' if _labelled(rows, method) else ''} | " + " | ".join(cells) + " |")
    if metric == "target_acc_last":
        lines += _published(read_rows(suite.published), [_domains(rows, task) for task in tasks], mean)
    return lines


def _labelled(rows: Rows, method: str) -> bool:
    said = {row.get("target_labels", "") for row in rows if row["method"] == method}
    return method in LABELLED if said <= {""} else said != {"[]"}


def _domains(rows: Rows, task: str) -> tuple[str, str]:
    return next((row["source"], row["target"]) for row in rows if row["task"] == task)


def _title(rows: Rows, task: str) -> str:
    """The domains, where they tell the task from every other."""
    domains = _domains(rows, task)
    alone = {row["task"] for row in rows if (row["source"], row["target"]) == domains and row["task"]} == {task}
    return f"{domains[0]} → {domains[1]}" if alone else task


def _published(rows: Rows, tasks: Sequence[tuple[str, str]], mean: bool) -> list[str]:
    lines = []
    for name, source in dict.fromkeys((row["method"], row["seen_in"]) for row in rows):
        own = [row for row in rows if (row["method"], row["seen_in"]) == (name, source)]
        theirs = {(row["source"], row["target"]): row["accuracy"] for row in own}
        cells = [theirs.get(task, "") for task in tasks]
        cells += [f"{sum(map(float, cells)) / len(cells):.1f}" if all(cells) else ""] * mean
        lines.append(f"| *{name}* ({source}) | " + " | ".join(cells) + " |")
    return lines


def verdict(suite: Suite, rows: Rows, metric: str) -> str:
    """Which methods are above source_only on the mean over the tasks, by a paired interval over the seeds."""
    means = seed_means(rows, metric, list(suite.tasks))
    base = means.pop("source_only", {})
    better, worse = [], []
    for method in sorted(means.keys() - {"target_only"}):
        seeds = sorted(means[method].keys() & base.keys())
        if len(seeds) < 2:
            continue
        gain = interval([means[method][seed] - base[seed] for seed in seeds])
        half = gain.half_width or 0.0
        text = f"{method} ({gain.cell(1, '+.1f')})"
        better += [text] if gain.mean > half else []
        worse += [text] if -gain.mean > half else []
    if len(base) < 2 or not means:
        return ""
    over = " on the mean over the tasks" if len(suite.tasks) > 1 else ""
    said = f" Better than source_only{over}: {', '.join(better) or 'no method'}."
    return said + (f" Worse: {', '.join(worse)}." if worse else "")


def page(suite: Suite) -> str:
    """table.md: made of results.csv, the published rows and the suite alone."""
    rows = read_rows(suite.results)
    planned = sum(len(suite.seeds) * (1 if row.once else len(suite.tasks)) for row in suite.methods.values())
    of = f"{len(rows)} of {planned} runs" if len(rows) != planned else f"{planned} runs"
    seeds = len({row["seed"] for row in rows})
    facts = f"`da benchmark {suite.name}`: {of}, {seeds} seed{'s' * (seeds != 1)}"
    steps = sorted({int(row["steps"]) for row in rows})
    facts += f", {'/'.join(map(str, steps))} steps, last epoch. Search for settings: {suite.search}."
    parts = [f"# {suite.title}", facts, *([suite.note] if suite.note else [])]
    if any(_labelled(rows, row["method"]) for row in rows):
        parts.append("† has used target labels.")
    parts += [_start(rows, name) for name, row in suite.methods.items() if row.once]
    for metric in suite.metrics:
        lines = "\n".join(table(suite, rows, metric))
        said = f"{METRICS.get(metric, metric)}: mean ± 95 % interval over the seeds."
        judged = verdict(suite, rows, metric) if metric.startswith("target") else ""
        parts.append(f"{said}{judged}\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def _start(rows: Rows, name: str) -> str:
    numbers = [100 * float(row["source_acc_last"]) for row in rows if row["method"] == name]
    return f"`{name}`, what others start from: source test accuracy {cell(numbers)}."


def write_table(suite: Suite) -> Path:
    """Write table.md anew and return its path."""
    write_whole(suite.table, page(suite))
    return suite.table
