"""`da rank`: sources and pretrained networks, best first for a target, before anything is trained."""

import argparse
import sys
from pathlib import Path

from da.command import Parser, run_command
from da.rank.scores import LABEL_FREE, LABELS, WITH_LABELS, default_score

EPILOG = f"""Without target labels: {", ".join(LABEL_FREE)}.
With --target-labels few or all also: {", ".join(WITH_LABELS)}.

da rank data=pacs net=mobilenet_v2,squeezenet1_0 data.source=photo,art_painting data.target=cartoon"""


def main(argv: list[str]) -> int:
    """Run `da rank` with the words after it; see `run_command` for the exit status."""
    return run_command("rank", lambda: _rank(_arguments(argv)))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da rank",
        description="Rank candidates for a target: every combination of options of da train, some with several values. "
        "Nothing is trained but linear classifiers on frozen features.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("options", nargs="+", metavar="option=value[,value ...]", help="as of da train -m")
    parser.add_argument(
        "--target-labels",
        choices=LABELS,
        default="none",
        help="that may be read: none (default), few (data.labels_per_class of each class), or all: an ORACLE",
    )
    parser.add_argument("--by", choices=(*LABEL_FREE, *WITH_LABELS), metavar="SCORE", help="what to rank by")
    parser.add_argument("--rows", type=int, default=2000, metavar="N", help="at most so many of a domain (2000)")
    parser.add_argument(
        "--runs", nargs="+", default=[], metavar="RUNS", help="finished runs, to compare the scores with"
    )
    parser.add_argument("--method", metavar="NAME", help="which of those runs")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all numbers there too, as .csv")
    arguments: argparse.Namespace = parser.parse_intermixed_args(argv)
    if arguments.by in WITH_LABELS and arguments.target_labels == "none":
        parser.error(f"--by {arguments.by} reads target labels: add --target-labels few, or all")
    if arguments.out is not None and arguments.out.suffix != ".csv":
        parser.error(f"--out {arguments.out} must end in .csv")
    if arguments.rows < 1:
        parser.error(f"--rows {arguments.rows} must be at least 1")
    if arguments.method and not arguments.runs:
        parser.error("--method chooses among --runs: give them too")
    return arguments


def _rank(arguments: argparse.Namespace) -> None:
    # Imported here: PyTorch takes seconds, which --help and mistakes in the options save.
    from da.rank.agreement import true_accuracies
    from da.rank.candidates import compose_candidates, score_candidate
    from da.rank.table import ranking
    from da.record import write_whole
    from da.report.results import find_results
    from da.report.tables import print_rich, render

    if arguments.out is not None and not arguments.out.parent.is_dir():
        raise FileNotFoundError(f"--out {arguments.out}: there is no folder {arguments.out.parent}")
    candidates = compose_candidates(arguments.options)
    accuracies, method = None, ""
    if arguments.runs:
        accuracies, method = true_accuracies(candidates, find_results(arguments.runs), arguments.method)
    told: set[str] = set()
    for i, candidate in enumerate(candidates, start=1):
        score_candidate(candidate, arguments.target_labels, arguments.rows)
        for notice in candidate.notices:
            if notice not in told:
                print(f"data: {notice}", file=sys.stderr)
        told.update(candidate.notices)
        print(f"{i} of {len(candidates)}: {candidate.label}, {candidate.seconds:.1f} s", file=sys.stderr, flush=True)
    by = arguments.by or default_score(arguments.target_labels, [candidate.source for candidate in candidates])
    report = ranking(candidates, by, arguments.target_labels, accuracies, method)
    if sys.stdout.isatty():
        print_rich(report)
    else:
        print(render(report, "table"), end="")
    if arguments.out is not None:
        write_whole(arguments.out, render(report, "csv"))
