"""`da benchmark`: train what is missing of a suite, and write its results and table."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from da.benchmark.plan import Key, Run, check_data, plan
from da.benchmark.runner import Outcome, alone, look, train
from da.benchmark.suite import Suite, find_suite, suite_names
from da.benchmark.tables import write_results, write_table
from da.command import Parser, run_command
from da.record import recorded

EPILOG = """Runs that are complete are found by the hash of their configuration and not trained again; killed ones are.
So it can be stopped at any moment and started again. Exit status: 0 if all runs are there, 1 if some failed,
2 for bad input. docs/pages/benchmarks.md has the rest."""


def main(argv: list[str]) -> int:
    """Run `da benchmark` with the words after it: 0, 1 if a run failed, 2 for bad input."""
    return command_status("benchmark", lambda: _benchmark(_arguments(argv)))


def command_status(name: str, command: Callable[[], int]) -> int:
    """Run a command that has an exit status of its own; 2, and one line, for what it can't do, 130 for Ctrl-C."""
    said: list[int] = []
    failed = run_command(name, lambda: said.append(command()))
    return said[0] if said else max(failed, 2 * bool(failed))


def add_places(parser: Parser, runs: str) -> None:
    """Add the arguments that `da benchmark` and `da reproduce` have in common."""
    parser.add_argument("--seeds", type=_numbers, default=(), metavar="0,1", help="only these seeds")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time, one thread each (default: 2)")
    parser.add_argument(
        "--runs", type=Path, default=Path(runs), metavar="DIR", help=f"where the folders of runs go (default: {runs})"
    )


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="da benchmark", description="Train what is missing of a suite.", epilog=EPILOG)
    known = ", ".join(suite_names()) or "none here: suites lie in the folder benchmarks of the repository"
    parser.add_argument("suite", metavar="SUITE", help=f"name of a suite, or path of a suite.yaml ({known})")
    parser.add_argument("--methods", type=_names, default=(), metavar="A,B", help="only these rows")
    parser.add_argument("--tasks", type=_names, default=(), metavar="A,B", help="only these tasks")
    add_places(parser, "runs/benchmark")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and train none")
    parser.add_argument(
        "--retry", action=argparse.BooleanOptionalAction, default=True, help="train again what failed before (default)"
    )
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs {arguments.jobs}: at least one run at a time")
    return arguments


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in text.split(","))))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(name) for name in _names(text))


def _benchmark(arguments: argparse.Namespace) -> int:
    suite = find_suite(arguments.suite)
    if unknown := set(arguments.seeds) - set(suite.seeds):
        raise ValueError(f"{suite.name} has the seeds {list(suite.seeds)}, not {sorted(unknown)}")
    wanted = plan(suite, arguments.runs, arguments.methods, arguments.tasks, arguments.seeds)
    if arguments.dry_run:
        for run in wanted:
            print(f"{run.status() or 'missing':9} {run.config_hash}  da train {' '.join(run.words)}")
        return 0
    everything = plan(suite, arguments.runs)
    with alone(arguments.runs / suite.name):
        try:
            outcomes = train_missing(suite, wanted, arguments.jobs, arguments.retry)
        finally:  # also what was there when it was stopped
            if rows := write_results(suite, everything):
                print(f"{len(rows)} rows in {suite.results}, table in {write_table(suite)}")
    return summary(outcomes)


def train_missing(suite: Suite, wanted: Sequence[Run], jobs: int, retry: bool = True) -> Mapping[Key, Outcome]:
    """Train those of `wanted` that are not complete, a line for each, and return what became of all."""
    seen = {run.key: look(run) for run in wanted}
    before = {
        key: outcome
        for key, outcome in seen.items()
        if outcome is not None and not (retry and outcome.status == "failed")
    }
    missing = [run for run in wanted if run.key not in before]
    if missing:
        check_data(suite)
    print(f"{suite.name}: {len(wanted)} runs, {len(missing)} to train, {jobs} at a time", flush=True)
    start, ended = time.monotonic(), 0

    def say(run: Run, outcome: Outcome, seconds: float) -> None:
        nonlocal ended
        ended += 1
        left = (time.monotonic() - start) / ended * (len(missing) - ended)
        said = _accuracy(run) if outcome.status == "trained" else f"{outcome.status}: {outcome.reason}"
        print(f"[{ended}/{len(missing)}] {run.key}: {said}, {_time(seconds)}; about {_time(left)} left", flush=True)

    return train(missing, before, jobs, say)


def _accuracy(run: Run) -> str:
    accuracy = recorded(run.folder, run.config_hash)["test"]["target_acc"]["last"]
    return "no target labels to test on" if accuracy is None else f"{accuracy:.1%}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def summary(outcomes: Mapping[Key, Outcome]) -> int:
    """Print how many runs came to what, and why those that failed did; 1 if there are any, else 0."""
    bad = {key: outcome for key, outcome in outcomes.items() if outcome.status in ("failed", "left out")}
    for key, outcome in bad.items():
        print(f"{outcome.status:8}  {key}: {outcome.reason}")
    counts = Counter(outcome.status for outcome in outcomes.values())
    print(", ".join(f"{counts[name]} {name}" for name in ("trained", "finished before", "failed", "left out")))
    return int(bool(bad))
