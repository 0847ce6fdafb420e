"""Draw docs/pages/assets/weights.png from results.csv and curves.csv: python benchmarks/weights/figure.py [RUNS].

With RUNS, the folder of the finished sweep, both csv files are written anew first.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

from da.report.results import complete_runs
from da.report.statistics import interval

HERE = Path(__file__).parent
PICTURE = HERE.parents[1] / "docs" / "pages" / "assets" / "weights.png"
KINDS = ("constant", "ramp", "gradient_balance", "uncertainty", "constraint")
COLOURS = ("#717581", "#3f90da", "#bd1f01", "#ffa90e", "#832db6")
TITLES = {"mmd": "MMD on the features", "coral": "CORAL on the features"}
RESULTS = ("kind", "method", "seed", "target_acc_last", "steps", "config_hash", "git_commit")
CURVES = ("kind", "method", "step", "weight", "distance")  # means over the seeds


def collect(runs: Path) -> None:
    """Write results.csv and curves.csv."""
    results, curves = [], defaultdict(list)
    for kind in KINDS:
        for raw in complete_runs(runs / kind):
            row = {**raw, "kind": kind, "target_acc_last": f"{raw['test']['target_acc']['last']:.5f}"}
            results.append([row[key] for key in RESULTS])
            for line in csv.DictReader((raw["folder"] / "metrics.csv").read_text().splitlines()):
                if line["train/align"]:
                    values = float(line["train/weight/align"]), float(line["train/align"])
                    curves[kind, raw["method"], int(line["step"])].append(values)
    means = [
        [*key, *(f"{sum(column) / len(column):.6g}" for column in zip(*pairs, strict=True))]
        for key, pairs in curves.items()
    ]
    for name, header, rows in (("results", RESULTS, sorted(results)), ("curves", CURVES, sorted(means))):
        with (HERE / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *rows])


def read(name: str) -> list[dict[str, str]]:
    """The rows of one of the two files."""
    return list(csv.DictReader((HERE / f"{name}.csv").read_text().splitlines()))


def draw() -> None:
    """Lambda and D over the batches, and the accuracy after the last, for each kind of lambda."""
    figure = Figure(figsize=(12, 6.4), layout="constrained", facecolor="white")
    panels = figure.subplots(2, 3)
    curves, results = read("curves"), read("results")
    for (method, title), (weight, distance, accuracy) in zip(TITLES.items(), panels, strict=True):
        for k, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
            rows = [row for row in curves if (row["kind"], row["method"]) == (kind, method)]
            rows.sort(key=lambda row: int(row["step"]))
            for axes, key in ((weight, "weight"), (distance, "distance")):
                axes.plot([int(r["step"]) for r in rows], [float(r[key]) for r in rows], color=colour, label=kind)
            values = [100 * float(r["target_acc_last"]) for r in results if (r["kind"], r["method"]) == (kind, method)]
            mean = interval(values)
            accuracy.errorbar(mean.mean, -k, xerr=mean.half_width, fmt="o", color=colour, capsize=3)
            accuracy.plot(values, [-k] * len(values), ".", color=colour, alpha=0.4)
        weight.set(yscale="log", ylabel="λ", xlabel="step (batches)", title=title)
        distance.set(yscale="log", ylabel="D", xlabel="step (batches)")
        accuracy.set(xlabel="target test accuracy, % (95 % interval)")
        accuracy.set_yticks([-k for k in range(len(KINDS))], KINDS)
        for axes in (weight, distance, accuracy):
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        collect(Path(sys.argv[1]))
    draw()
