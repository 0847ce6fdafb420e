"""`da select`: which of finished runs to use, without target labels."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from da.command import Parser, run_command
from da.report.results import find_results
from da.report.tables import Format, render
from da.select.choice import ENSEMBLE, ORACLE, Weights, choose, tasks
from da.select.selection import report, selected

EPILOG = f"""NAME is a validator (docs/pages/metrics.md), several of them for the mean of their ranks, {ENSEMBLE} for
all that every run has, or {ORACLE}, which reads target labels. The runs of one task are compared, by the mean over
their seeds.

da train -m data=digits_demo method=source_only,mmd,mcc seed=0,1,2 validators=all
da select runs --by infomax"""


def main(argv: list[str]) -> int:
    """Run `da select` with the words after it; see `run_command` for the exit status."""
    return run_command("select", lambda: _select(_arguments(argv)))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da select",
        description="Choose method and settings by a validator, and say whether adaptation seems to hurt.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", metavar="RUNS", help="folders of runs, or folders above them")
    parser.add_argument("--by", default="infomax", metavar="NAME[,NAME ...]", help="what chooses (infomax)")
    parser.add_argument(
        "--weights", choices=get_args(Weights), default="last", help="those of the last epoch, or of selected.ckpt"
    )
    parser.add_argument(
        "--no-guard", dest="guard", action="store_false", help="keep the choice even where adaptation seems to hurt"
    )
    parser.add_argument("--format", choices=get_args(Format), default="table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing")
    arguments = parser.parse_args(argv)
    arguments.by = [name.strip() for name in arguments.by.split(",") if name.strip()]
    if not arguments.by or (len(arguments.by) > 1 and {ORACLE, ENSEMBLE} & set(arguments.by)):
        parser.error(f"--by takes validators, or one of {ORACLE} and {ENSEMBLE}")
    return arguments


def _select(arguments: argparse.Namespace) -> None:
    found = tasks(find_results(arguments.paths), arguments.weights)
    chosen = [selected(task, choose(task, arguments.by), arguments.guard) for task in found]
    made = report(chosen, arguments.weights)
    text = render(made, arguments.format)
    if arguments.out is None:
        print(text, end="")
    else:
        arguments.out.write_text(text, encoding="utf-8")
    if arguments.format == "csv":
        print("\n".join(made.notes), file=sys.stderr)
