"""The networks between two of a suite: python benchmarks/transfer/curve.py [sweep].

`sweep` runs da fuse --sweep on source_only and finetune of pacs_few, last weights, for every seed, and writes
alpha.csv, with the data of DA_DATA_ROOT. alpha.md and docs/pages/assets/alpha.png are made of it.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from da.report.figures import BLUE, DPI, ORANGE, new_figure
from da.report.statistics import interval

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = ROOT / "runs/transfer/pacs_few"
PICTURE = ROOT / "docs/pages/assets/alpha.png"
SEEDS = ("0", "1", "2")
CHOICES = {
    "source": ("source_acc", "source_loss"),
    "infomax": ("infomax", None),
    "oracle": ("oracle_target_acc", "oracle_target_loss"),
}
"""What may choose alpha: the score, and the loss that decides between equals, as in `da fuse --choose`."""


def sweep() -> None:
    """Measure every mix, and write one row an alpha and seed."""
    rows = []
    for seed in SEEDS:
        networks = [str(RUNS / name / f"seed{seed}") for name in ("finetune", "source_only")]
        out = RUNS / f"alpha-{seed}.ckpt"
        words = [*networks, "--weights", "last", "--sweep", "--choose", "source", "--out", str(out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-m", "da", "fuse", *words], cwd=ROOT, env=environment, check=True)
        with out.with_suffix(".csv").open() as file:
            rows += [{"seed": seed, **row} for row in csv.DictReader(file)]
    with (HERE / "alpha.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read() -> list[dict[str, str]]:
    """The measurements."""
    return list(csv.DictReader((HERE / "alpha.csv").read_text().splitlines()))


def page() -> str:
    """Accuracies of the end points and of the alpha that each choice picks, over the seeds."""
    rows = read()
    lines = [
        "# Between two networks: alpha finetune + (1 - alpha) source_only",
        "",
        "`python benchmarks/transfer/curve.py sweep`; PACS photo → cartoon, frozen features, last weights, 3 seeds, "
        "mean ± 95 % interval.",
        "",
        "| network | alpha | source accuracy | target accuracy |",
        "|---|---:|---:|---:|",
    ]
    picked = {f"alpha {end:g}": [_at(rows, seed, end) for seed in SEEDS] for end in (0.0, 0.5, 1.0)}
    picked |= {f"chosen by {name}": [_best(rows, seed, name) for seed in SEEDS] for name in CHOICES}
    for name, chosen in picked.items():
        alphas = ", ".join(f"{float(row['alpha']):g}" for row in chosen)
        cells = [_cell([100 * float(row[key]) for row in chosen]) for key in ("source_acc", "oracle_target_acc")]
        lines.append(f"| {name} | {alphas} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _at(rows: list[dict[str, str]], seed: str, alpha: float) -> dict[str, str]:
    return min((row for row in rows if row["seed"] == seed), key=lambda row: abs(float(row["alpha"]) - alpha))


def _best(rows: list[dict[str, str]], seed: str, choice: str) -> dict[str, str]:
    score, loss = CHOICES[choice]
    own = [row for row in rows if row["seed"] == seed]
    return max(own, key=lambda row: (float(row[score]), -float(row[loss]) if loss else 0.0))


def _cell(values: list[float]) -> str:
    return interval(values).cell(scale=1)


def draw() -> None:
    """Accuracy of source and target over alpha, each seed and their mean."""
    rows = read()
    alpha = np.array([float(row["alpha"]) for row in rows if row["seed"] == SEEDS[0]])
    figure = new_figure(7.0, 4.2)
    axes = figure.subplots()
    for key, label, colour in (
        ("source_acc", "source validation rows", BLUE),
        ("oracle_target_acc", "target test rows (oracle)", ORANGE),
    ):
        seeds = np.array([[100 * float(row[key]) for row in rows if row["seed"] == seed] for seed in SEEDS])
        axes.plot(alpha, seeds.T, color=colour, linewidth=0.8, alpha=0.4)
        axes.plot(alpha, seeds.mean(axis=0), color=colour, linewidth=2.0, marker="o", markersize=4, label=label)
    axes.set(xlabel="alpha      0: source only      1: fine-tuned on three labels a class", ylabel="accuracy [%]")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.8))
    figure.savefig(PICTURE, dpi=DPI)


if __name__ == "__main__":
    if sys.argv[1:] == ["sweep"]:
        sweep()
    (HERE / "alpha.md").write_text(page())
    draw()
