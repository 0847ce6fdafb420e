"""Target accuracies of methods on tasks: after the last epoch, at the selected one, and of the ORACLE."""

from collections.abc import Mapping, Sequence

from da.report.plots import ACCENT, MANY, MINUS, forest_plot, interval_plot
from da.report.results import Metric, Repetitions
from da.report.section import Section
from da.report.statistics import Interval, average, interval
from da.report.tables import Sheet, marked, seed_values

LABELS: Mapping[Metric, str] = {"last": "last epoch", "selected": "selected epoch", "oracle": "ORACLE epoch"}
NOTHING = "-"


def accuracy_section(rows: Sequence[Repetitions]) -> Section:
    """Methods by tasks for each choice of epoch, and how far the selected epoch is from the ORACLE's."""
    figures = [_figure(rows, data) for data in data_sets(rows)]
    sheets = [task_sheet(rows, data, metric) for data in data_sets(rows) for metric in LABELS]
    text = [
        "Target accuracy in percent: mean ± 95 % interval by Student's t over n seeds. The unit of repetition is the "
        "seed: a full re-run with new initial weights and batches, on the same test rows. So an interval says what "
        "another seed would give, not other test rows.",
        "Last and selected are on all target test rows. ORACLE is the best of all epochs by target labels, measured on "
        "target train rows: a bound for selection, never a result.",
        *_marks(rows),
    ]
    return Section("accuracy", "Accuracy", text, figures, [*sheets, gap_sheet(rows)])


def data_sets(rows: Sequence[Repetitions]) -> list[str]:
    """Return the names of the data sets of the rows."""
    return sorted({row.data for row in rows})


def tasks_of(rows: Sequence[Repetitions], data: str) -> list[str]:
    """Return the tasks on a data set."""
    return sorted({run.task for row in rows if row.data == data for run in row.runs})


def cells(row: Repetitions, metric: Metric, tasks: Sequence[str]) -> dict[str, Interval]:
    """Return the intervals of a row by task, and under "average" that over the tasks where it has all of several."""
    values = seed_values(row, metric)
    found = {task: interval(list(by_seed.values())) for task, by_seed in values.items()}
    if len(tasks) > 1 and len(values) == len(tasks):
        found["average"] = average(list(values.values()))
    return found


def task_sheet(rows: Sequence[Repetitions], data: str, metric: Metric) -> Sheet:
    """Return the table of methods by tasks on one data set."""
    tasks = tasks_of(rows, data)
    columns = [*tasks, "average"] if len(tasks) > 1 else tasks
    lines = []
    for row in (row for row in rows if row.data == data):
        found = cells(row, metric, tasks)
        lines.append([marked(row), *(found[c].text() if c in found else NOTHING for c in columns)])
    suffix = " ORACLE" if metric == "oracle" else ""
    return Sheet(f"{data}, {LABELS[metric]}", ["method", *(column + suffix for column in columns)], lines)


def gap_sheet(rows: Sequence[Repetitions]) -> Sheet:
    """Return how much accuracy the selected and the last epoch are below the ORACLE's, on the rows that it was on."""
    lines = []
    cells_of = [(data, task) for data in data_sets(rows) for task in tasks_of(rows, data)]
    for data, task in cells_of:
        for row in (row for row in rows if row.data == data):
            runs = [run for run in row.runs if run.task == task]
            gaps = []
            for end in ("selected_target_acc", "last_target_acc"):
                pairs = [(run.oracle.get("best_target_acc"), run.oracle.get(end)) for run in runs]
                known = [best - value for best, value in pairs if best is not None and value is not None]
                gaps.append(interval(known).text() if known else NOTHING)
            if runs:
                lines.append([data, task, marked(row), *gaps])
    columns = ["data", "task", "method", f"ORACLE {MINUS} selected", f"ORACLE {MINUS} last"]
    return Sheet("Gap to the ORACLE epoch, on the same target train rows", columns, lines)


def _figure(rows: Sequence[Repetitions], data: str) -> dict[str, object]:
    tasks = tasks_of(rows, data)
    found = {marked(row): cells(row, "last", tasks) for row in rows if row.data == data}
    columns = [*tasks, "average"] if any("average" in one for one in found.values()) else tasks
    if len(found) <= MANY:
        return interval_plot(f"{data}: target test accuracy, last epoch [%]", columns, found)
    shown = {name: one[columns[-1]] for name, one in found.items() if columns[-1] in one}
    title = f"{data}, {columns[-1]}: target test accuracy, last epoch [%]"
    return forest_plot(title, list(shown), list(shown.values()), [ACCENT] * len(shown), form=".1f")


def _marks(rows: Sequence[Repetitions]) -> list[str]:
    uses = sorted({f"{row.name}: {', '.join(row.target_labels)}" for row in rows if row.target_labels})
    return [f"† has used target labels ({'; '.join(uses)})."] if uses else []
