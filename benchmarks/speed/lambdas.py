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
LAUNCHERS = {"one after the other": "basic", "stacked": "stacked"}
COMMANDS = "a command each"
LAMBDAS = [0.01 * 10 ** (k / 5) for k in range(16)]
SHAPES = ["16x3", "1x16"]
COLUMNS = ("case", "threads", "lambdas", "seeds", "round", "contender", "seconds", "cpu_seconds", "gap")


def sweep(case: str, contender: str, lambdas: int, seeds: int, threads: int, folder: Path) -> tuple[float, float]:
    """Train all runs by what a user types; return its seconds, and those of the processor."""
    weights = [f"{value:.4g}" for value in LAMBDAS[:lambdas]]
    train = [sys.executable, "-m", "da", "train", *CASES[case], "method=mmd", f"runs={folder}"]
    if contender == COMMANDS:
        axes = product(weights, map(str, range(seeds)))
        commands = [[*train, f"method.weights.align.high={weight}", f"seed={seed}"] for weight, seed in axes]
    else:
        axes = [f"method.weights.align.high={','.join(weights)}", f"seed={','.join(map(str, range(seeds)))}"]
        commands = [[*train, "-m", *axes, f"hydra/launcher={LAUNCHERS[contender]}"]]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
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
    case: str, contenders: list[str], rounds: int, lambdas: int, seeds: int, threads: int
) -> Iterator[dict[str, str]]:
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folders = {contender: Path(place) / contender.replace(" ", "_") for contender in contenders}
            found = {
                contender: sweep(case, contender, lambdas, seeds, threads, folders[contender])
                for contender in contenders[:: -1 if number % 2 else 1]
            }
            apart = gap(*(folders[contender] for contender in LAUNCHERS))
        for contender, (seconds, cpu) in found.items():
            yield {
                **{"case": case, "threads": str(threads), "lambdas": str(lambdas), "seeds": str(seeds)},
                **{"round": str(number), "contender": contender},
                **{"seconds": f"{seconds:.2f}", "cpu_seconds": f"{cpu:.2f}", "gap": f"{apart:.1e}"},
            }


def table(rows: list[dict[str, str]]) -> str:
    """Markdown, made of the csv's rows alone: medians over the rounds."""
    contenders = (COMMANDS, *LAUNCHERS)
    lines = [
        f"| a run reads | threads | lambdas | seeds | {' | '.join(f'{c}, s (CPU s)' for c in contenders)} "
        f"| {' | '.join(f'{c} / stacked' for c in contenders[:-1])} | gap |",
        "|---|" + "---:|" * (2 * len(contenders) + 3),
    ]
    for key in dict.fromkeys(map(sweep_of, rows)):
        own = [row for row in rows if sweep_of(row) == key]
        times = {
            contender: [
                [float(row[column]) for row in own if row["contender"] == contender]
                for column in ("seconds", "cpu_seconds")
            ]
            for contender in contenders
        }
        cells = [pair(*map(statistics.median, times[c]), digits=0) if times[c][0] else "" for c in contenders]
        cells += [pair(*map(ratio, times[c], times["stacked"])) if times[c][0] else "" for c in contenders[:-1]]
        lines.append(f"| {' | '.join([*key, *cells])} | {max(float(row['gap']) for row in own):.0e} |")
    return "\n".join(lines) + "\n"


def sweep_of(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[key] for key in COLUMNS[:4])


def ratio(times: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(times, others, strict=True))


def pair(wall: float, cpu: float, digits: int = 1) -> str:
    return f"{wall:.{digits}f} ({cpu:.{digits}f})"


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def order(row: dict[str, str]) -> tuple[int, ...]:
    return int(row["threads"]), list(CASES).index(row["case"]), -int(row["lambdas"]), int(row["round"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sweeps", nargs="+", default=SHAPES, help="how many lambdas and seeds")
    parser.add_argument("--commands", action="store_true", help="time a command for each run, too")
    parser.add_argument("--out", type=Path, default=HERE / "lambdas.csv")
    parser.add_argument("--table", action="store_true", help="make lambdas.md of the csv that is there")
    options = parser.parse_args()
    if not options.table:
        contenders = [*([COMMANDS] if options.commands else []), *LAUNCHERS]
        for threads, case, shape in product(options.threads, options.cases, options.sweeps):
            found = list(measure(case, contenders, options.rounds, *map(int, shape.split("x")), threads))
            kept = [row for row in read(options.out) if sweep_of(row) != sweep_of(found[0])]
            with options.out.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(sorted([*kept, *found], key=order))
    options.out.with_suffix(".md").write_text(table(read(options.out)))
    print(options.out.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
