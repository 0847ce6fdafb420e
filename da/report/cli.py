"""`da report`: tables of the runs below some folders."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from da.command import Parser, run_command
from da.report.results import Metric, find_results
from da.report.tables import Format, comparison, print_rich, render, runs_table


def main(argv: list[str]) -> int:
    """Run `da report` with the words after it; see `run_command` for the exit status."""
    return run_command("report", lambda: _report(_arguments(argv)))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="da report", description="Means and 95 % intervals over seeds, of all runs below PATHS.")
    parser.add_argument("paths", nargs="+", metavar="PATHS", help="folders of runs, or folders above them")
    parser.add_argument(
        "--metric",
        choices=get_args(Metric),
        help="target accuracy after the last epoch (default), at the selected one, or at the best (uses target labels)",
    )
    parser.add_argument("--format", choices=get_args(Format), default="table")
    parser.add_argument("--runs", action="store_true", help="one row for each run, with all that was measured")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing")
    arguments = parser.parse_args(argv)
    if arguments.runs and arguments.metric:
        parser.error("--metric chooses what is averaged, and --runs averages nothing: give one of them")
    return arguments


def _report(arguments: argparse.Namespace) -> None:
    results = find_results(arguments.paths)
    report = runs_table(results) if arguments.runs else comparison(results, arguments.metric or "last")
    if arguments.out is None and arguments.format == "table" and sys.stdout.isatty():
        print_rich(report)
        return
    text = render(report, arguments.format)
    if arguments.out is None:
        print(text, end="")
    else:
        arguments.out.write_text(text, encoding="utf-8")
    if arguments.format == "csv" and report.notes:
        print("\n".join(report.notes), file=sys.stderr)
