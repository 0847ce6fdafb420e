"""Collect the complete runs of a sweep into a csv: python benchmarks/collect.py RUNS FILE [FIELD ...]."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from da.report.results import complete_runs, method_order

IDENTITY = ("data", "source", "target", "method", "seed")
MEASURED = ("target_acc_last", "target_acc_selected", "target_macro_f1_last", "source_acc_last", "seconds")
COLUMNS = (*IDENTITY, *MEASURED, "steps", "config_hash", "git_commit")


def collect(runs: Path, fields: Sequence[str] = ()) -> list[dict[str, object]]:
    """One row a run, by task and method, with `fields` of results.json. Accuracies on test rows, as fractions."""
    rows = []
    for raw in complete_runs(runs):
        test = {
            f"{name}_{weights}": value
            for name, by_weights in raw["test"].items()
            for weights, value in by_weights.items()
            if isinstance(value, float)
        }
        values = {**raw, **test, "seconds": raw["cost"]["seconds"]}
        rows.append({key: _short(values.get(key), 1 if key == "seconds" else 5) for key in (*fields, *COLUMNS)})
    return sorted(
        rows,
        key=lambda r: (
            *(str(r[key]) for key in (*fields, "data", "source", "target")),
            method_order(str(r["method"])),
            r["seed"],
        ),
    )


def _short(value: object, digits: int) -> object:
    return f"{value:.{digits}f}" if isinstance(value, float) else value


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w", newline="") as file:
        writer = csv.DictWriter(file, (*sys.argv[3:], *COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(collect(Path(sys.argv[1]), sys.argv[3:]))
