"""Collect the runs of a suite into results/NAME.csv, and write tables/NAME.md of every results/*.csv."""

import csv
import json
from pathlib import Path

import yaml

from da.report.statistics import interval

HERE = Path(__file__).parent
Rows = list[dict[str, str]]
MEASURED = (
    "target_acc",
    "source_acc",
    "source_acc_start",
    "forgetting",
    "seconds",
    "steps",
    "config_hash",
    "git_commit",
)


def collect(runs: Path, name: str) -> None:
    """Write results/NAME.csv: one row a complete run, of last weights on test rows. Accuracies are fractions."""
    plan = yaml.safe_load((HERE / f"{name}.yaml").read_text())
    rows = []
    for variant in [*plan["starts"], *plan["variants"]]:
        for file in (runs / variant).glob("*/results.json"):
            results = json.loads(file.read_text())
            if results["status"] != "complete":
                raise ValueError(f"{file.parent} is {results['status']}: {results['error']}")
            config = yaml.safe_load((file.parent / "config.yaml").read_text())
            over = {key: _at(config, key) if variant in plan["variants"] else "" for key in plan["over"]}
            forgot = results["forgetting"] or {"before": None, "last": None}
            values = {
                "target_acc": results["test"]["target_acc"]["last"],
                "source_acc": results["test"]["source_acc"]["last"],
                "source_acc_start": forgot["before"],
                "forgetting": forgot["last"],
                "seconds": round(results["cost"]["seconds"], 1),
                **{key: results[key] for key in ("steps", "config_hash", "git_commit")},
            }
            rows.append(
                {"variant": variant, **over, "seed": results["seed"], **{k: _short(values[k]) for k in MEASURED}}
            )
    order = {variant: i for i, variant in enumerate([*plan["starts"], *plan["variants"]])}
    rows.sort(key=lambda row: (order[row["variant"]], *(float(row[key] or 0) for key in plan["over"]), row["seed"]))
    (HERE / "results").mkdir(exist_ok=True)
    with (HERE / "results" / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["variant", *plan["over"], "seed", *MEASURED], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _at(config: object, key: str) -> object:
    for part in key.split("."):
        config = config[part]  # type: ignore[index]
    return config


def _short(value: object) -> object:
    return f"{value:.5f}" if isinstance(value, float) and abs(value) < 10 else value


def page(name: str) -> str:
    """The table of a suite: a row a variant, a column for each value that it was repeated over."""
    plan = yaml.safe_load((HERE / f"{name}.yaml").read_text())
    rows: Rows = list(csv.DictReader((HERE / "results" / f"{name}.csv").read_text().splitlines()))
    key, swept = next(iter(plan["over"].items()), ("", [""]))
    columns = [str(value) for value in swept]
    short = key.rpartition(".")[2]
    seeds = len({row["seed"] for row in rows})
    lines = [
        f"# {plan['title']}",
        f"`python benchmarks/transfer/sweep.py {name}`; {seeds} seeds, mean ± 95 % interval, last weights, test rows."
        + (f" Columns: `{key}`." if key else ""),
        *[_start(rows, start) for start in plan["starts"]],
    ]
    parts = ["\n\n".join(lines)]
    for metric, said in (("target_acc", "Target accuracy"), ("forgetting", "Forgetting: source accuracy lost, points")):
        found = [v for v in plan["variants"] if any(row["variant"] == v and row[metric] for row in rows)]
        table = [f"| {said} | " + " | ".join(f"{short} {value}" for value in columns) + " |"]
        table.append("|---|" + "---:|" * len(columns))
        for variant in found:
            cells = [
                _cell([row[metric] for row in rows if row["variant"] == variant and row.get(key, "") == value])
                for value in columns
            ]
            table.append(f"| {variant} | " + " | ".join(cells) + " |")
        if found:
            parts.append("\n".join(table))
    return "\n\n".join(parts) + "\n"


def _start(rows: Rows, start: str) -> str:
    own = [row for row in rows if row["variant"] == start]
    said = f"`{start}`, what the variants start from: source accuracy {_cell([row['source_acc'] for row in own])}"
    return said + f", target accuracy {_cell([row['target_acc'] for row in own])}."


def _cell(values: list[str]) -> str:
    known = [100 * float(value) for value in values if value]
    if not known:
        return ""
    mean = interval(known)
    return f"{mean.mean:.1f}" + ("" if mean.half_width is None else f" ± {mean.half_width:.1f}")


def write_tables() -> None:
    """Write the page of every suite that has results."""
    (HERE / "tables").mkdir(exist_ok=True)
    for path in sorted(HERE.glob("*.yaml")):
        if not (HERE / "results" / f"{path.stem}.csv").exists():
            continue
        (HERE / "tables" / f"{path.stem}.md").write_text(page(path.stem))


if __name__ == "__main__":
    write_tables()
