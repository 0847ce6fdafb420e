"""Time sweeps of lambda and seeds in stacks and run by run: python benchmarks/speed/lambdas.py [--rounds 2].

Writes the csv, in which sweeps that are not measured now stay as they are, and lambdas.md beside it, which is made of
the csv alone: --table only makes it anew. --commands times a command for each run, too, as a loop in a shell starts
them. The data of two cases are below DA_DATA_ROOT.
"""

import argparse
import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

HERE = Path(__file__).parent
CASES = {
    "1280 features": ("experiment=office_caltech10", "data.source=amazon", "data.target=dslr"),
    "800 words": ("experiment=office_caltech10_surf", "data.source=amazon", "data.target=dslr"),
    "2 numbers": ("data=toy", "net=mlp", "figures=none", "trainer.max_epochs=20"),
}
COMMANDS = "a command each"
LAUNCHERS = {
    "one after the other": ("basic", False),
    "joblib": ("joblib", True),
    "stacked": ("stacked", False),
    "stacked, n_jobs": ("stacked", True),
}
"""Launcher of each contender, and whether it has a process on each core, of one thread, or one process of them all."""

ALIKE = {"stacked": "one after the other", "stacked, n_jobs": "joblib"}
"""What computes with as many threads, so that the curves are to be the same."""

BEST = "stacked, n_jobs"
LAMBDAS = [0.01 * 10 ** (k / 5) for k in range(16)]
SHAPES = ["16x3", "1x16"]
COLUMNS = ("case", "cores", "lambdas", "seeds", "round", "contender", "seconds", "cpu_seconds", "gap")


def sweep(case: str, contender: str, lambdas: int, seeds: int, cores: int, folder: Path) -> tuple[float, float]:
    """Train all runs by what a user types; return its seconds, and those of the processor."""
    launcher, processes = LAUNCHERS.get(contender, ("", False))
    weights = [f"{value:.4g}" for value in LAMBDAS[:lambdas]]
    train = [sys.executable, "-m", "da", "train", *CASES[case], "method=mmd", f"runs={folder}"]
    if contender == COMMANDS:
        axes = product(weights, map(str, range(seeds)))
        commands = [[*train, f"method.weights.align.high={weight}", f"seed={seed}"] for weight, seed in axes]
    else:
        axes = [f"method.weights.align.high={','.join(weights)}", f"seed={','.join(map(str, range(seeds)))}"]
        shared = [f"hydra.launcher.n_jobs={cores}"] if processes else []
        commands = [[*train, "-m", *axes, f"hydra/launcher={launcher}", *shared]]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": str(1 if processes else cores)}
    for command in commands:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    after, stop = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    return stop - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def numbers(path: Path) -> Iterator[float]:
    """Losses and scores of a run's metrics.csv, in a fixed order; not what only a run by itself has, and no costs."""
    rows = [row for row in csv.DictReader(path.read_text().splitlines()) if not row.get("alignment/align/ratio")]
    for row in rows:
        yield from (float(row[key]) for key in sorted(row) if row[key] and not key.startswith(("cost/", "alignment/")))


def gap(one: Path, other: Path) -> float:
    """Return the largest difference of the curves of two sweeps of the same runs."""
    runs = sorted(path.relative_to(one) for path in one.rglob("metrics.csv"))
    assert runs == sorted(path.relative_to(other) for path in other.rglob("metrics.csv"))
    return max(abs(a - b) for run in runs for a, b in zip(numbers(one / run), numbers(other / run), strict=True))


def measure(
    case: str, contenders: list[str], rounds: int, lambdas: int, seeds: int, cores: int
) -> Iterator[dict[str, str]]:
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folders = {contender: Path(place) / str(k) for k, contender in enumerate(contenders)}
            found = {
                contender: sweep(case, contender, lambdas, seeds, cores, folders[contender])
                for contender in contenders[:: -1 if number % 2 else 1]
            }
            apart = max(gap(folders[one], folders[other]) for one, other in ALIKE.items())
        for contender, (seconds, cpu) in found.items():
            yield {
                **{"case": case, "cores": str(cores), "lambdas": str(lambdas), "seeds": str(seeds)},
                **{"round": str(number), "contender": contender},
                **{"seconds": f"{seconds:.2f}", "cpu_seconds": f"{cpu:.2f}", "gap": f"{apart:.1e}"},
            }


def table(rows: list[dict[str, str]]) -> str:
    """Markdown, made of the csv's rows alone: medians over the rounds, and how many times those of the best."""
    contenders = (COMMANDS, *LAUNCHERS)
    lines = [
        f"| a run reads | cores | runs | {' | '.join(f'{c} [s]' for c in contenders)} | gap |",
        "|---|" + "---:|" * (len(contenders) + 3),
    ]
    for key in dict.fromkeys(map(sweep_of, rows)):
        own = [row for row in rows if sweep_of(row) == key]
        seconds = {c: [float(row["seconds"]) for row in own if row["contender"] == c] for c in contenders}
        cells = [key[0], key[1], " x ".join(key[2:]), *(cell(seconds[c], seconds[BEST]) for c in contenders[:-1])]
        cells += [f"{statistics.median(seconds[BEST]):.0f}", f"{max(float(row['gap']) for row in own):.0e}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cell(seconds: list[float], best: list[float]) -> str:
    if not seconds:
        return ""
    times = statistics.median(one / other for one, other in zip(seconds, best, strict=True))
    return f"{statistics.median(seconds):.0f} ({times:.1f}x)"


def sweep_of(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[key] for key in COLUMNS[:4])


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def order(row: dict[str, str]) -> tuple[int, ...]:
    return int(row["cores"]), list(CASES).index(row["case"]), -int(row["lambdas"]), int(row["round"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--cores", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sweeps", nargs="+", default=SHAPES, help="how many lambdas and seeds")
    parser.add_argument("--commands", action="store_true", help="time a command for each run, too")
    parser.add_argument("--out", type=Path, default=HERE / "lambdas.csv")
    parser.add_argument("--table", action="store_true", help="make lambdas.md of the csv that is there")
    options = parser.parse_args()
    if not options.table:
        contenders = [*([COMMANDS] if options.commands else []), *LAUNCHERS]
        for cores, case, shape in product(options.cores, options.cases, options.sweeps):
            found = list(measure(case, contenders, options.rounds, *map(int, shape.split("x")), cores))
            kept = [row for row in read(options.out) if sweep_of(row) != sweep_of(found[0])]
            with options.out.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(sorted([*kept, *found], key=order))
    options.out.with_suffix(".md").write_text(table(read(options.out)))
    print(options.out.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
