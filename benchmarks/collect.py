"""Collect the complete runs of a sweep into a csv: python benchmarks/collect.py RUNS FILE."""

import csv
import json
import sys
from pathlib import Path

from da.report.results import find_results, method_order

COLUMNS = ("method", "source", "target", "seed", "target_acc_last", "steps", "seconds", "config_hash", "git_commit")


def collect(runs: Path) -> list[dict[str, object]]:
    """One row a run: target test accuracy of the last epoch as a fraction. SystemExit for a run that failed."""
    rows = []
    for result in find_results([runs]):
        raw = json.loads((Path(result.folder) / "results.json").read_text())
        if raw["status"] != "complete":
            raise SystemExit(f"{result.folder} is {raw['status']}: {raw['error']}")
        measured = {
            "target_acc_last": f"{raw['test']['target_acc']['last']:.5f}",
            "seconds": f"{raw['cost']['seconds']:.1f}",
        }
        rows.append({key: measured.get(key, raw.get(key)) for key in COLUMNS})
    return sorted(rows, key=lambda row: (method_order(str(row["method"])), row["seed"]))


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(collect(Path(sys.argv[1])))
