"""Files of rows and columns: .csv, .tsv, .parquet, .jsonl."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from da.data.classes import listed

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")


def read_table(where: str, null_values: Sequence[str] = ()) -> pl.DataFrame:
    """Read a table; columns of a .csv or .tsv file that hold nothing but numbers, in all rows, are numbers.

    An empty cell is missing, and so are the `null_values` of a .csv or .tsv file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another kind, can't be read, has no rows, or two columns of one name.
    """
    read_csv = partial(pl.read_csv, infer_schema_length=None, null_values=list(null_values))
    readers: Mapping[str, Callable[[Path], pl.DataFrame]] = {
        ".csv": read_csv,
        ".tsv": partial(read_csv, separator="\t"),
        ".parquet": pl.read_parquet,
        ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
    }
    path = Path(where).expanduser()
    if path.suffix not in readers:
        raise ValueError(f"{where} is no table: {', '.join(readers)}")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        frame = readers[path.suffix](path)
    except (PolarsError, OSError) as error:
        raise ValueError(f"can't read {path}: {str(error).splitlines()[0]}") from error
    if repeated := {name for name in frame.columns if re.fullmatch(r".*_duplicated_\d+", name)}:
        twice = {re.sub(r"_duplicated_\d+$", "", name) for name in repeated}
        raise ValueError(f"{path} has more than one column {listed(twice)}")
    if frame.is_empty():
        raise ValueError(f"{path} has no rows")
    return frame
