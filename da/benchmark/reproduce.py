"""`da reproduce`: train a row of a suite again and compare it with what the suite states."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from da.benchmark.cli import add_places, command_status, summary, train_missing
from da.benchmark.plan import plan
from da.benchmark.runner import alone
from da.benchmark.suite import BENCHMARKS, SUITE_FILE, Rows, Suite, find_suite, read_rows
from da.benchmark.tables import cell, collected, seed_means
from da.command import Parser
from da.report.statistics import quantile

METRIC = "target_acc_last"
EPILOG = """Compared is the mean over the seeds, and over all tasks if none is given, with the interval in which the
mean of that many new seeds lies in 95 of 100 cases if nothing has changed. Exit status: 0 inside, 1 outside, 2 for bad
input or a run that failed. docs/pages/benchmarks.md has the rest."""


class Stated(NamedTuple):
    """What a row has to come out as, in percent: it counts as the same within `half_width` of `mean`."""

    mean: float
    half_width: float
    text: str


def main(argv: list[str]) -> int:
    """Run `da reproduce` with the words after it: 0 inside the interval, 1 outside, 2 for bad input."""
    return command_status("reproduce", lambda: _reproduce(_arguments(argv)))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="da reproduce", description="Train a row of a suite again and compare it.", epilog=EPILOG)
    parser.add_argument("row", metavar="SUITE/METHOD[/TASK]", help="such as pacs/mcc, or pacs/mcc/photo-cartoon")
    add_places(parser, "runs/reproduce")
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs {arguments.jobs}: at least one run at a time")
    return arguments


def _reproduce(arguments: argparse.Namespace) -> int:
    suite, method, task = parse_row(arguments.row)
    seeds = arguments.seeds or suite.seeds
    tasks = [task] if task else list(suite.tasks)
    wanted = plan(suite, arguments.runs, [method], [task] if task else [], seeds)
    expected = stated(suite, method, tasks, len(set(seeds)))
    with alone(arguments.runs / suite.name):
        outcomes = train_missing(suite, wanted, arguments.jobs)
    own = [run for run in wanted if run.key.method == method]
    if summary(outcomes):
        raise ValueError(f"not all runs of {arguments.row} came out, so there is nothing to compare")
    found = _by_seed(collected(suite, own), method, tasks)
    mean = fmean(found)
    inside = abs(mean - expected.mean) <= expected.half_width
    print(f"stated: {expected.text}")
    print(f"here:   {cell(found)} % ({len(found)} seeds)")
    low, high = expected.mean - expected.half_width, expected.mean + expected.half_width
    print(f"{arguments.row}: {mean:.2f} is {'inside' if inside else 'OUTSIDE'} [{low:.2f}, {high:.2f}]")
    return int(not inside)


def parse_row(text: str) -> tuple[Suite, str, str]:
    """Return suite, row and task ("" for all) of SUITE/METHOD[/TASK]; the suite may be the path of its file or folder.

    Raises ValueError for one that there is not.
    """
    parts = text.split("/")
    for end in range(len(parts) - 1, 0, -1):
        name = "/".join(parts[:end])
        if any(path.is_file() for path in (Path(name), Path(name, SUITE_FILE), BENCHMARKS / name / SUITE_FILE)):
            suite, rest = find_suite(name), parts[end:]
            method, task = rest[0], "/".join(rest[1:])
            if suite.methods.get(method) is None or suite.methods[method].once:
                rows = [name for name, row in suite.methods.items() if not row.once]
                raise ValueError(f"{suite.name} has no row {method!r}; there are {', '.join(rows)}")
            if task and task not in suite.tasks:
                raise ValueError(f"{suite.name} has no task {task!r}; there are {', '.join(suite.tasks)}")
            return suite, method, task
    find_suite(parts[0])  # says which there are, if this is none
    raise ValueError(f"{text} names no row: give SUITE/METHOD or SUITE/METHOD/TASK")


def stated(suite: Suite, method: str, tasks: Sequence[str], count: int) -> Stated:
    """Return what the suite says about a row: its own results, or the published number.

    From results of n seeds with standard deviation s, the mean of `count` new seeds lies within t(n - 1) s
    sqrt(1/n + 1/count) of theirs in 95 of 100 cases (the prediction interval). It is never taken narrower than the
    suite's tolerance. Raises ValueError if there is nothing to compare with.
    """
    if suite.expected == "published":
        return _published(suite, method, tasks)
    numbers = _by_seed(read_rows(suite.results), method, tasks)
    if not numbers:
        raise ValueError(f"{suite.results} has no complete results of {method} on {', '.join(tasks)} to compare with")
    n, half = len(numbers), 0.0
    if n > 1:
        half = quantile(n - 1) * stdev(numbers) * (1 / n + 1 / count) ** 0.5
    text = f"{cell(numbers)} % ({n} seeds), of {suite.results}"
    return Stated(fmean(numbers), max(half, suite.tolerance), text)


def _published(suite: Suite, method: str, tasks: Sequence[str]) -> Stated:
    rows = [row for row in read_rows(suite.published) if row.get("row") == method]
    words = [dict(word.partition("=")[::2] for word in (*suite.options, *suite.tasks[task])) for task in tasks]
    pairs = [(chosen.get("data.source"), chosen.get("data.target")) for chosen in words]
    numbers = [float(row["accuracy"]) for pair in pairs for row in rows if (row["source"], row["target"]) == pair]
    if len(numbers) != len(tasks):
        raise ValueError(f"{suite.published} has no number for {method} on every task of {', '.join(tasks)}")
    text = f"{fmean(numbers):.1f} % ({rows[0]['seen_in']}), with a tolerance of {suite.tolerance:g} points"
    return Stated(fmean(numbers), suite.tolerance, text)


def _by_seed(rows: Rows, method: str, tasks: Sequence[str]) -> list[float]:
    return list(seed_means([row for row in rows if row["method"] == method], METRIC, tasks).get(method, {}).values())
