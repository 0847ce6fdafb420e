"""Search every task of the suites by method=auto: python benchmarks/auto/run.py [--suites speech] [--jobs 2] [--table].

Needs the data below DA_DATA_ROOT. A search that is done is not done again. results.csv is brought up to date with what
lies below --runs; table.md is made of it alone: --table only makes that anew.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from da.auto.cli import MODEL, REPORT, place
from da.auto.plan import Candidate
from da.benchmark.plan import plan
from da.benchmark.suite import find_suite, read_rows
from da.record import RESULTS_FILE
from da.report.statistics import interval
from da.select.choice import BASELINE

HERE = Path(__file__).parent
SUITES = (
    *("office_caltech10", "office_caltech10_surf", "pacs", "amazon_reviews", "reviews_text", "sensors", "speech"),
    "digits",
)
"""Those that can be run here, but for pacs_finetuned: an hour of a core."""
KEY = ("suite", "task", "seed")
COLUMNS = (*KEY, "chosen", "candidates", "source_only", "auto", "best_tried", "seconds", "validator", "config_hash")


class Search(NamedTuple):
    """One search: of which task, with which options, in which folder."""

    key: tuple[str, str, int]
    words: tuple[str, ...]
    folder: Path


def searches(suites: Sequence[str], runs: Path, seeds: Sequence[int]) -> Iterator[Search]:
    """The tasks of the suites, with the recipe that the suite has for source_only."""
    for name in suites:
        for run in plan(find_suite(name), runs, methods=[BASELINE], seeds=seeds):
            words = tuple(word for word in run.words if not word.startswith("method="))
            key = (name, run.key.task, run.key.seed)
            yield Search(key, words, runs / name / f"{run.key.task}-seed{run.key.seed}")


def do(search: Search, threads: int) -> str:
    """Run the command that a user types, unless it has been; return what there is to say of it."""
    if not (search.folder / REPORT).exists():
        command = [sys.executable, "-m", "da", "train", "method=auto", *search.words, f"run_dir={search.folder}"]
        search.folder.mkdir(parents=True, exist_ok=True)
        with (search.folder / "log.txt").open("w") as log:
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            if subprocess.run(command, stdout=log, stderr=log, env=environment).returncode:
                return f"{search.key} failed: {(search.folder / 'log.txt').read_text().splitlines()[-1]}"
    row = found(search)
    return f"{search.key}: {row['source_only']} -> {row['auto']} by {row['chosen']}, {row['seconds']} s"


def found(search: Search) -> dict[str, Any]:
    """A row of results.csv: accuracies are fractions, of the weights that `da predict` uses (`selected`)."""
    report = json.loads((search.folder / REPORT).read_text())
    ends = {trial["candidate"] for trial in report["trials"] if trial["part"] == 1 and not trial["reason"]}
    of_trials = {name: _results(place(search.folder, Candidate(name, ()), 1)) for name in ends}
    model = _results(search.folder / MODEL)
    (chosen,) = (name for name, trial in of_trials.items() if trial["config_hash"] == model["config_hash"])
    return {
        **dict(zip(KEY, search.key, strict=True)),
        "chosen": chosen,
        "candidates": len({trial["candidate"] for trial in report["trials"]}),
        "source_only": f"{_accuracy(of_trials[BASELINE]):.5f}",
        "auto": f"{_accuracy(model):.5f}",
        "best_tried": f"{max(map(_accuracy, of_trials.values())):.5f}",
        "seconds": f"{sum(trial['seconds'] or 0 for trial in report['trials']):.0f}",
        "validator": report["settings"]["by"],
        "config_hash": model["config_hash"],
    }


def _results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / RESULTS_FILE).read_text())
    return content


def _accuracy(results: Mapping[str, Any]) -> float:
    return float(results["test"]["target_acc"]["selected"])


def write(path: Path, new: Sequence[dict[str, Any]]) -> None:
    """Write the rows, and those of other searches that were there."""
    rows = {tuple(str(row[name]) for name in KEY): row for row in [*read_rows(path), *new]}
    order = {name: k for k, name in enumerate(SUITES)}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[key] for key in sorted(rows, key=lambda key: (order[key[0]], *key[1:])))


def page(rows: Sequence[Mapping[str, str]]) -> str:
    """Markdown, made of the rows alone."""
    of_suite = {name: [row for row in rows if row["suite"] == name] for name in SUITES}
    lines = [
        "# One adapted model, without being told how",
        "`da train method=auto` with its defaults on every task: target test accuracy, in percent, of the weights that "
        "`da predict` uses. `source_only` is that of the same search, at the same seed and length; the best tried is "
        "that of its candidates at full length which target labels would have chosen (ORACLE). ± is the 95 % interval "
        "over the tasks.",
        "",
        "| suite | tasks | source_only | auto | gain | worst | lose > 1 point | best tried, ORACLE | seconds |",
        "|---|" + "---:|" * 8,
        *(_line(name, own) for name, own in of_suite.items() if own),
        _line("**all**", rows),
        "",
        "## Where it loses more than one point",
        *(_losses(rows) or ["Nowhere."]),
        "",
        "## What it chose",
        "| | tasks | mean gain |",
        "|---|---:|---:|",
    ]
    names = sorted({row["chosen"] for row in rows}, key=lambda name: -sum(row["chosen"] == name for row in rows))
    for name in names:
        own = [_gain(row) for row in rows if row["chosen"] == name]
        lines.append(f"| {name} | {len(own)} | {fmean(own):+.1f} |")
    return "\n".join(lines) + "\n"


def _line(name: str, rows: Sequence[Mapping[str, str]]) -> str:
    def mean(column: str) -> str:
        return f"{100 * fmean(float(row[column]) for row in rows):.1f}"

    gains = [_gain(row) for row in rows]
    cells = (
        name,
        len(rows),
        mean("source_only"),
        mean("auto"),
        interval(gains).cell(1, "+.1f"),
        f"{min(gains):+.1f}",
        sum(g < -1 for g in gains),
    )
    return (
        f"| {' | '.join(map(str, cells))} | {mean('best_tried')} | {fmean(float(row['seconds']) for row in rows):.0f} |"
    )


def _losses(rows: Sequence[Mapping[str, str]]) -> list[str]:
    lost = sorted((row for row in rows if _gain(row) < -1), key=_gain)
    if not lost:
        return []
    lines = [f"| {row['suite']} | {row['task']} | {row['chosen']} | {_gain(row):+.1f} |" for row in lost]
    return ["| suite | task | chosen | gain |", "|---|---|---|---:|", *lines]


def _gain(row: Mapping[str, str]) -> float:
    return 100 * (float(row["auto"]) - float(row["source_only"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="searches at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each search")
    parser.add_argument("--runs", type=Path, default=Path("runs/auto"))
    parser.add_argument("--table", action="store_true", help="make table.md of the results.csv that is there")
    options = parser.parse_args()
    results = HERE / "results.csv"
    if not options.table:
        every = list(searches(options.suites, options.runs, options.seeds))
        with ThreadPoolExecutor(options.jobs) as pool:
            for line in pool.map(lambda search: do(search, options.threads), every):
                print(line, flush=True)
        write(results, [found(search) for search in every if (search.folder / REPORT).exists()])
    (HERE / "table.md").write_text(page(read_rows(results)))
    print((HERE / "table.md").read_text())


if __name__ == "__main__":
    main()
