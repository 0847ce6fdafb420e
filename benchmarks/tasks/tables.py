"""Write tables/NAME.md of results/NAME.csv and published/NAME.csv for every experiment, and table.md of all of them."""

import csv
from collections import defaultdict
from pathlib import Path

from da.report.results import method_order
from da.report.statistics import interval

HERE = Path(__file__).parent
Rows = list[dict[str, str]]
METRICS = {"target_acc_last": "accuracy", "target_macro_f1_last": "macro-F1"}


def read(path: Path) -> Rows:
    """The rows of a csv file; none if it is not there."""
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def experiments() -> list[str]:
    """Those that have results."""
    return sorted(path.stem for path in (HERE / "results").glob("*.csv"))


def table(rows: Rows, published: Rows, metric: str) -> list[str]:
    """Markdown: mean ± 95 % interval over the seeds for every method and task, and what others published."""
    tasks = sorted({(row["source"], row["target"]) for row in rows})
    means = seed_means(rows, metric)
    methods = sorted(means, key=method_order)
    values: dict[tuple[str, tuple[str, str]], list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        values[row["method"], (row["source"], row["target"])].append(100 * float(row[metric]))
    lines = ["| method | " + " | ".join(f"{s} → {t}" for s, t in tasks) + " | mean |"]
    lines.append("|---|" + "---:|" * (len(tasks) + 1))
    for method in methods:
        cells = [_cell(values[method, task]) for task in tasks] + [f"**{_cell(means[method])}**"]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    for name in dict.fromkeys(row["method"] for row in published):
        theirs = {(row["source"], row["target"]): row["accuracy"] for row in published if row["method"] == name}
        source = next(row["seen_in"] for row in published if row["method"] == name)
        cells = [theirs.get(task, "") for task in tasks]
        mean = f"{sum(map(float, cells)) / len(cells):.1f}" if all(cells) else ""
        lines.append(f"| *{name}* ({source}) | " + " | ".join(cells) + f" | {mean} |")
    return lines


def seed_means(rows: Rows, metric: str) -> dict[str, list[float]]:
    """For each method the mean over the tasks, in percent, of every seed in order. ValueError if a run is missing."""
    values: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        values[row["method"], int(row["seed"])].append(100 * float(row[metric]))
    if len(set(map(len, values.values()))) != 1:
        raise ValueError("some method was not run on every task with every seed")
    means: dict[str, list[float]] = defaultdict(list)
    for (method, _), of_tasks in sorted(values.items()):
        means[method].append(sum(of_tasks) / len(of_tasks))
    return means


def verdict(rows: Rows, metric: str) -> str:
    """Which methods are above source_only on the mean over the tasks, by a paired interval over the seeds."""
    means = seed_means(rows, metric)
    better, worse = [], []
    for method in sorted(means.keys() - {"source_only", "target_only"}):
        gain = interval([own - base for own, base in zip(means[method], means["source_only"], strict=True)])
        half = float("inf") if gain.half_width is None else gain.half_width
        text = f"{method} ({gain.mean:+.1f} ± {half:.1f})"
        better += [text] if gain.mean > half else []
        worse += [text] if -gain.mean > half else []
    said = f"Better than source_only on the mean over the tasks: {', '.join(better) or 'no method'}."
    return said + (f" Worse: {', '.join(worse)}." if worse else "")


def _cell(values: list[float]) -> str:
    mean = interval(values)
    return f"{mean.mean:.1f}" + ("" if mean.half_width is None else f" ± {mean.half_width:.1f}")


def page(experiment: str) -> str:
    """The whole table of an experiment."""
    rows = read(HERE / "results" / f"{experiment}.csv")
    published = read(HERE / "published" / f"{experiment}.csv")
    seeds = len({row["seed"] for row in rows})
    steps = "/".join(sorted({row["steps"] for row in rows}))
    parts = [f"# {experiment}", f"`da train experiment={experiment}`; {seeds} seeds, {steps} steps, last epoch."]
    for metric, name in METRICS.items():
        if metric == "target_macro_f1_last" and experiment != "sp_sw_har":
            continue  # the classes of the others are balanced
        shown = published if metric == "target_acc_last" else []
        lines = "\n".join(table(rows, shown, metric))
        parts.append(f"Target test {name}, %: mean ± 95 % interval over the seeds. {verdict(rows, metric)}\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def overview() -> str:
    """Mean over the tasks of every experiment by method."""
    results = {name: read(HERE / "results" / f"{name}.csv") for name in experiments()}
    means = [seed_means(rows, "target_acc_last") for rows in results.values()]
    methods = sorted({method for of_method in means for method in of_method}, key=method_order)
    tasks = {name: {(row["source"], row["target"]) for row in rows} for name, rows in results.items()}
    lines = ["| method | " + " | ".join(f"{name} ({len(tasks[name])})" for name in results) + " |"]
    lines.append("|---|" + "---:|" * len(results))
    for method in methods:
        cells = [_cell(of_method[method]) for of_method in means]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    said = "Target test accuracy, %, mean over the tasks (their number) ± 95 % interval over the seeds."
    return "\n".join([said, "", *lines]) + "\n"


if __name__ == "__main__":
    (HERE / "table.md").write_text(overview())
    for experiment in experiments():
        (HERE / "tables" / f"{experiment}.md").write_text(page(experiment))
