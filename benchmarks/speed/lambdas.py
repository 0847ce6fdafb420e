"""Time a sweep of lambda in a stack and run by run: python benchmarks/speed/lambdas.py [--rounds 2] [--threads 1].

Writes the csv and, beside it, lambdas.md, which is made of the csv alone: --table only makes it anew. --commands times
a command for each run, too, as a loop in a shell starts them. The data of two of the cases are below DA_DATA_ROOT.
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
COLUMNS = ("case", "threads", "runs", "round", "contender", "seconds", "cpu_seconds", "gap")


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
        subprocess.run(command, check=True, env=environment, capture_output=True)
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
) -> Iterator[dict[str, object]]:
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
                **{"case": case, "threads": threads, "runs": lambdas * seeds, "round": number, "contender": contender},
                **{"seconds": f"{seconds:.2f}", "cpu_seconds": f"{cpu:.2f}", "gap": f"{apart:.1e}"},
            }


def table(rows: list[dict[str, str]]) -> str:
    """Markdown, made of the csv's rows alone: medians over the rounds."""
    contenders = (COMMANDS, *LAUNCHERS)
    lines = [
        f"| a run reads | threads | runs | {' | '.join(f'{c}, s (CPU s)' for c in contenders)} "
        f"| {' | '.join(f'{c} / stacked' for c in contenders[:-1])} | gap |",
        "|---|" + "---:|" * (2 * len(contenders) + 2),
    ]
    for key in dict.fromkeys((row["case"], row["threads"], row["runs"]) for row in rows):
        own = [row for row in rows if (row["case"], row["threads"], row["runs"]) == key]
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


def ratio(times: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(times, others, strict=True))


def pair(wall: float, cpu: float, digits: int = 1) -> str:
    return f"{wall:.{digits}f} ({cpu:.{digits}f})"


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--lambdas", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--commands", action="store_true", help="time a command for each run, too")
    parser.add_argument("--out", type=Path, default=HERE / "lambdas.csv")
    parser.add_argument("--table", action="store_true", help="make lambdas.md of the csv that is there")
    options = parser.parse_args()
    if not options.table:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for threads in options.threads:
                for case in options.cases:
                    contenders = [*([COMMANDS] if options.commands else []), *LAUNCHERS]
                    for row in measure(case, contenders, options.rounds, options.lambdas, options.seeds, threads):
                        writer.writerow(row)
                        file.flush()
    options.out.with_suffix(".md").write_text(table(read(options.out)))
    print(options.out.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
