"""`da report`: tables of the runs below some folders."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from da.command import Parser, run_command
from da.report.results import Metric, find_results
from da.report.searches import is_study_file, read_studies, study_files
from da.report.tables import Format, comparison, print_rich, render, runs_table


def main(argv: list[str]) -> int:
    """Run `da report` with the words after it; see `run_command` for the exit status."""
    return run_command("report", lambda: _report(_arguments(argv)))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da report",
        description="Means and 95 % intervals over seeds, of all runs below PATHS: a table, or with --out DIR a folder "
        "with a page, tables and all numbers.",
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATHS", help="folders of runs, or folders above them; or the file of a search"
    )
    parser.add_argument(
        "--metric",
        choices=get_args(Metric),
        help="target accuracy after the last epoch (default), at the selected one, or at the best (uses target labels)",
    )
    parser.add_argument("--format", choices=get_args(Format), help="of the table (default: table)")
    parser.add_argument("--runs", action="store_true", help="one row for each run, with all that was measured")
    parser.add_argument(
        "--out",
        metavar="FILE|DIR",
        help="write the table to FILE; or, for a name without a suffix and none of the options above, "
        "index.html, results.csv, table.md and table.tex to the folder DIR",
    )
    parser.add_argument(
        "--axis",
        action="append",
        default=[],
        metavar="KEY",
        help="a setting, with all below it, that runs of a folder may differ in: each value is a row; repeatable",
    )
    parser.add_argument("--by-settings", action="store_true", help="make an axis of every setting that differs")
    arguments = parser.parse_args(argv)
    arguments.folder = _is_folder(arguments.out) and not (arguments.format or arguments.metric or arguments.runs)
    if (arguments.axis or arguments.by_settings) and not arguments.folder:
        parser.error("--axis and --by-settings are for a folder: add --out DIR, without --format, --metric and --runs")
    if arguments.runs and arguments.metric:
        parser.error("--metric chooses what is averaged, and --runs averages nothing: give one of them")
    return arguments


def _is_folder(out: str | None) -> bool:
    return out is not None and (out.endswith("/") or Path(out).is_dir() or not Path(out).suffix)


def _report(arguments: argparse.Namespace) -> None:
    # The runs of a search lie beside its file.
    results = find_results([Path(path).parent if is_study_file(path) else path for path in arguments.paths])
    if arguments.folder:
        from da.report.folder import write_folder

        files = study_files(arguments.paths)
        studies = read_studies(files) if files else []
        write_folder(results, Path(arguments.out), arguments.axis, arguments.by_settings, studies)
        print(f"{Path(arguments.out) / 'index.html'}, beside results.csv, table.md and table.tex")
        return
    form: Format = arguments.format or "table"
    report = runs_table(results) if arguments.runs else comparison(results, arguments.metric or "last")
    if arguments.out is None and form == "table" and sys.stdout.isatty():
        print_rich(report)
        return
    text = render(report, form)
    if arguments.out is None:
        print(text, end="")
    else:
        Path(arguments.out).write_text(text, encoding="utf-8")
    if form == "csv" and report.notes:
        print("\n".join(report.notes), file=sys.stderr)
