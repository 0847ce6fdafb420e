"""`da predict`: classes of new rows by the network of a finished run."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from da.command import Parser, add_run, run_command
from da.record import whole_file

if TYPE_CHECKING:
    import polars as pl

    from da.use import FinishedRun

SUFFIXES = (".csv", ".parquet")


def main(argv: list[str]) -> int:
    """Run `da predict` with the words after it; see `run_command` for the exit status."""
    return run_command("predict", lambda: _predict(_arguments(argv)))


def predict(
    run: "FinishedRun", where: str, batch_size: int = 256, device: str = "auto", on_bad: str = "error"
) -> "pl.DataFrame":
    """Return path, label and probability of every row in `where`, then a probability a class, `p_<class>`.

    Args:
        run: see `da.use.open_run`.
        where: what the run's data read: a folder or archive of files, one file, a table, a file of arrays.
        batch_size: rows that the network is given at a time.
        device: auto, cpu or cuda.
        on_bad: "error" for a file that can't be read, or "skip": it is left out, and `run.data.notices` says so.

    Raises FileNotFoundError, or ValueError for rows that can't be read or are not like those that were trained on.
    """
    import polars as pl

    from da.use import choose_device, network_logits

    chosen = choose_device(device)
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    if on_bad == "skip":
        if not hasattr(run.data, "on_bad"):
            raise ValueError(f"on_bad=skip is for data of many files, but {type(run.data).__name__} reads one file")
        run.data.on_bad = "skip"
    rows, names = run.data.inputs(where)
    if not len(rows):
        raise ValueError(f"there are no rows in {where}")
    run.data.eval_batch_size = batch_size
    batches = (samples.x for samples in run.data.eval_loader(rows, shared=False))
    p = network_logits(run.net, batches, chosen).softmax(dim=1)
    best, classes = p.argmax(dim=1), run.recorded["classes"]
    columns: dict[str, Any] = {
        "path": names,
        "label": [classes[c] for c in best.tolist()],
        "probability": p.gather(1, best[:, None])[:, 0].numpy(),
    }
    return pl.DataFrame(columns | {f"p_{name}": p[:, c].numpy() for c, name in enumerate(classes)})


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da predict",
        description="Write path, label and probability of new rows, by the network of a run. Its training data are not "
        "needed.",
    )
    add_run(parser)
    parser.add_argument("inputs", metavar="INPUTS", help="what the run's data read: a folder, an archive, a file")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write there, as .csv or .parquet, instead of printing"
    )
    parser.add_argument("--probabilities", action="store_true", help="a column p_<class> for each class too")
    parser.add_argument("--on-bad", choices=("error", "skip"), default="error", help="of files that can't be read")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args(argv)
    if arguments.out is not None and arguments.out.suffix not in SUFFIXES:
        parser.error(f"--out {arguments.out} must end in {' or '.join(SUFFIXES)}")
    return arguments


def _predict(arguments: argparse.Namespace) -> None:
    # Imported here: PyTorch takes seconds, which --help and mistakes in the options save.
    from da.use import open_run

    run = open_run(arguments.run, arguments.weights)
    try:
        table = predict(run, arguments.inputs, arguments.batch_size, arguments.device, arguments.on_bad)
    finally:
        for notice in run.data.notices:
            print(f"data: {notice}", file=sys.stderr)
    if not arguments.probabilities:
        table = table[:, :3]
    if arguments.out is None:
        print(table.write_csv(), end="")
    else:
        _write(table, arguments.out)
    counts = Counter(table["label"])
    said = ", ".join(f"{counts[name]} {name}" for name in run.recorded["classes"] if counts[name])
    where = "" if arguments.out is None else f", in {arguments.out}"
    print(f"{len(table)} rows: {said}{where}", file=sys.stderr)


def _write(table: "pl.DataFrame", path: Path) -> None:
    with whole_file(path) as draft:
        table.write_csv(draft) if path.suffix == ".csv" else table.write_parquet(draft)
