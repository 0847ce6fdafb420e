"""Write length.md: every method after the steps of short.csv and after those of results.csv."""

from pathlib import Path

from da.benchmark.suite import Rows, find_suite, read_rows
from da.benchmark.tables import cell

HERE = Path(__file__).parent
TASKS = {("mnist", "usps"): "MNIST → USPS", ("usps", "mnist"): "USPS → MNIST"}


def page() -> str:
    """The table with what one must know to read it."""
    both = {int(rows[0]["steps"]): rows for rows in (read_rows(HERE / "short.csv"), read_rows(HERE / "results.csv"))}
    lines = ["| method | " + " | ".join(f"{name}, {steps:,} steps" for name in TASKS.values() for steps in both) + " |"]
    lines.append("|---|" + "---:|" * len(TASKS) * len(both))
    for method in find_suite(str(HERE)).methods:
        cells = [cell(_accuracies(rows, method, task)) for task in TASKS for rows in both.values()]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    said = "Target test accuracy, %: mean ± 95 % interval over three seeds."
    return "\n\n".join(["# Digits: the effect of the length of training", said, "\n".join(lines)]) + "\n"


def _accuracies(rows: Rows, method: str, task: tuple[str, str]) -> list[float]:
    own = [row for row in rows if (row["method"], (row["source"], row["target"])) == (method, task)]
    return [100 * float(row["target_acc_last"]) for row in own]


if __name__ == "__main__":
    (HERE / "length.md").write_text(page())
