"""Collect runs into a csv, and make table.md: python benchmarks/digits/tables.py [RUNS [FILE]].

With RUNS, the folder of a finished sweep, FILE (results.csv) is written anew. table.md is made of results.csv,
published.csv and short.csv.
"""

import csv
import sys
from pathlib import Path

from da.report.results import complete_runs, method_order
from da.report.statistics import interval

HERE = Path(__file__).parent
TASKS = {"mnist-usps": "MNIST → USPS", "usps-mnist": "USPS → MNIST"}
IDENTITY = ["method", "source", "target", "seed"]
ACCURACIES = ["target_acc_last", "target_acc_selected", "selected_epoch", "oracle_best_target_acc", "source_acc_last"]
VALIDATORS = ["source_acc", "infomax", "entropy", "snd"]
COLUMNS = [*IDENTITY, *ACCURACIES, *VALIDATORS, "steps", "seconds", "peak_memory_mib", "config_hash", "git_commit"]


def collect(runs: Path) -> list[dict[str, object]]:
    """One row a complete run. Accuracies are fractions; `oracle_` used target labels."""
    rows = []
    for raw in complete_runs(runs):
        values = {
            **{key: raw[key] for key in ("method", "source", "target", "seed", "steps", "config_hash", "git_commit")},
            "target_acc_last": raw["test"]["target_acc"]["last"],
            "target_acc_selected": raw["test"]["target_acc"]["selected"],
            "selected_epoch": raw["selected"]["epoch"],
            "oracle_best_target_acc": raw["oracle"]["best_target_acc"],
            "source_acc_last": raw["test"]["source_acc"]["last"],
            **{name: raw["validators"].get(name) for name in VALIDATORS},
            "seconds": round(raw["cost"]["seconds"], 1),
            "peak_memory_mib": round(raw["cost"]["peak_memory_mib"]),
        }
        rows.append({name: _short(values[name]) for name in COLUMNS})
    return sorted(rows, key=lambda row: (row["source"], method_order(str(row["method"])), row["seed"]))


def _short(value: object) -> object:
    return f"{value:.5f}" if isinstance(value, float) and abs(value) < 20 else value


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a csv file."""
    return list(csv.DictReader(path.read_text().splitlines()))


def table() -> str:
    """Markdown: our mean ± 95 % interval over seeds beside what others published."""
    rows = read(HERE / "results.csv")
    published = read(HERE / "published.csv")
    methods = sorted({row["method"] for row in rows}, key=method_order)
    lines = ["| method | " + " | ".join(f"{name} | published" for name in TASKS.values()) + " | seconds |"]
    lines.append("|---|" + "---:|---|" * len(TASKS) + "---:|")
    for method in methods:
        cells = []
        for task in TASKS:
            ours = [row for row in rows if row["method"] == method and task_of(row) == task]
            cells += [percent([float(row["target_acc_last"]) for row in ours]), quoted(published, method, task)]
        seconds = [float(row["seconds"]) for row in rows if row["method"] == method]
        name = {"target_only": "target_only †", "finetune": "finetune †"}.get(method, method)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {sum(seconds) / len(seconds):.0f} |")
    return "\n".join(lines) + "\n"


def length_table() -> str:
    """Markdown: every method after the steps of short.csv and after those of results.csv."""
    both = {int(rows[0]["steps"]): rows for rows in (read(HERE / "short.csv"), read(HERE / "results.csv"))}
    lines = ["| method | " + " | ".join(f"{name}, {steps:,} steps" for name in TASKS.values() for steps in both) + " |"]
    lines.append("|---|" + "---:|" * len(TASKS) * len(both))
    for method in sorted({row["method"] for rows in both.values() for row in rows}, key=method_order):
        cells = [
            percent([float(r["target_acc_last"]) for r in rows if (r["method"], task_of(r)) == (method, task)])
            for task in TASKS
            for rows in both.values()
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def task_of(row: dict[str, str]) -> str:
    """The pair of domains, as in `TASKS`."""
    return f"{row['source']}-{row['target']}"


def percent(values: list[float]) -> str:
    """Mean ± 95 % interval (number of seeds), in percent."""
    if not values:
        return ""
    estimate = interval([100 * value for value in values])
    width = "" if estimate.half_width is None else f" ± {estimate.half_width:.1f}"
    return f"{estimate.mean:.1f}{width} ({estimate.n})"


def quoted(published: list[dict[str, str]], method: str, task: str) -> str:
    """The published numbers, each with where it was seen."""
    found = [row for row in published if row["method"] == method and row["task"] == task]
    return "; ".join(f"{float(row['accuracy']):.1f} ({row['source']})" for row in found)


def page(markdown: str, lengths: str) -> str:
    """The tables with what one must know to read them."""
    return f"""# Digits: target test accuracy of the last epoch, percent

<!-- made by benchmarks/digits/tables.py from results.csv and published.csv -->

Mean ± 95 % interval by Student's t (number of seeds; one seed is one full re-run). † has used target labels:
`target_only` all of them, `finetune` five a class. Published numbers come from other networks, splits and lengths
of training, see published.csv; `SKADA-bench` chose its settings by target labels. Seconds are means over the runs,
on one thread of a shared machine.

{markdown}
## The effect of the length of training

{lengths}"""


def main() -> None:
    """Write results.csv if runs are given, and table.md."""
    if len(sys.argv) > 1:
        rows = collect(Path(sys.argv[1]))
        with (HERE / (sys.argv[2] if len(sys.argv) > 2 else "results.csv")).open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    (HERE / "table.md").write_text(page(table(), length_table()))


if __name__ == "__main__":
    main()
