"""Tables of the benchmarks' results in the pages of methods, terms and discrepancies."""

from da.report.results import method_order
from da.report.statistics import interval

MEASURES = {
    "target_acc_last": "target, last epoch",
    "target_acc_selected": "target, selected epoch",
    "oracle_best_target_acc": "target, best epoch (ORACLE)",
    "source_acc_last": "source, last epoch",
}
UNITS = "Test accuracies in %, mean ± 95 % interval over seeds (number of seeds)."

Rows = list[dict[str, str]]


def benchmark(rows: Rows) -> str:
    """What this method reached, a line for each task."""
    lines = [
        "| task | " + " | ".join(MEASURES.values()) + " | seconds a run |",
        "|---|" + "---:|" * (len(MEASURES) + 1),
    ]
    for task in tasks(rows):
        of_task = [row for row in rows if task_of(row) == task]
        cells = [percent(of_task, key) for key in MEASURES]
        lines.append(f"| {task} | {' | '.join(cells)} | {mean(of_task, 'seconds')} |")
    return "\n".join(["## Benchmark", "", f"{UNITS} How: [Results](../results.md#the-benchmark).", "", *lines, ""])


def overview(rows: Rows) -> str:
    """Target accuracy after the last epoch of every method on every task."""
    all_tasks = tasks(rows)
    lines = ["| method | " + " | ".join(all_tasks) + " |", "|---|" + "---:|" * len(all_tasks)]
    for name in sorted({row["method"] for row in rows}, key=method_order):
        cells = [
            percent([row for row in rows if row["method"] == name and task_of(row) == task], "target_acc_last")
            for task in all_tasks
        ]
        lines.append(f"| [{name}]({name}.md) | {' | '.join(cells)} |")
    text = f"Target accuracy after the last epoch. {UNITS} How: [Results](../results.md#the-benchmark)."
    return "\n".join(["", "## Benchmark: digits", "", text, "", *lines, ""])


def tasks(rows: Rows) -> list[str]:
    """The tasks of these rows, by alphabet."""
    return sorted({task_of(row) for row in rows})


def task_of(row: dict[str, str]) -> str:
    """The pair of domains as text."""
    return f"{row['source']} → {row['target']}"


def percent(rows: Rows, key: str) -> str:
    """Mean ± interval (number of seeds) of a column of fractions, in percent."""
    values = [float(row[key]) for row in rows if row.get(key)]
    return f"{interval(values).cell()} ({len(values)})" if values else "-"


def mean(rows: Rows, key: str) -> str:
    """Rounded mean of a column."""
    values = [float(row[key]) for row in rows if row.get(key)]
    return f"{interval(values).mean:.0f}" if values else "-"
