"""Rows x, and their labels y, as arrays in one file: .npz, .safetensors or .parquet."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import polars as pl
import torch
from polars.exceptions import PolarsError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from da.data.classes import listed
from da.data.columns import label_names, names_of

PARTS = ("_train", "_val", "_test")
ROLES = ("x", "y", "group", "split")
"""The arrays: rows, their labels, what belongs together, and "train", "val" or "test" for each; ROLES x PARTS too."""

SUFFIXES = (".npz", ".safetensors", ".parquet")
UNREADABLE = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, SafetensorError, PolarsError)

Array = np.ndarray | pl.Series


class Arrays(NamedTuple):
    """The rows of a file."""

    x: Tensor  # [N, ...]: uint8, float16, float32 or float64
    labels: list[str] | None
    keys: list[str]
    split: list[str] | None
    group: list[str] | None
    columns: list[str]  # of a parquet file that has a column for each feature
    notices: tuple[str, ...]

    def keep(self, rows: Tensor) -> Self:
        """Return these rows only."""
        labels, keys, split, group = (
            None if part is None else [part[i] for i in rows.tolist()]
            for part in (self.labels, self.keys, self.split, self.group)
        )
        return self._replace(x=self.x[rows], labels=labels, keys=keys or [], split=split, group=group)


def read_arrays(where: str) -> Arrays:
    """Read the rows of a file that has x, or x_train and with it x_val and x_test; with or without labels.

    y, group and split hold a value for each row; the parts of y and group are named as those of x. A parquet file
    has x as a column of lists, or any columns of numbers instead.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it can't be read, or the arrays are not as said.
    """
    path = Path(where).expanduser()
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{where} is no {', '.join(SUFFIXES)} file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    columns: list[str] = []
    try:
        if path.suffix == ".npz":
            arrays, others = _read_npz(path)
        elif path.suffix == ".safetensors":
            arrays, others = _read_safetensors(path)
        else:
            arrays, others, columns = _read_parquet(path)
    except UNREADABLE as error:
        raise ValueError(f"can't read {path}: {str(error).splitlines()[0]}") from error
    return _rows(arrays, others, columns, path.name)


def _rows(arrays: Mapping[str, Array], others: Sequence[str], columns: list[str], name: str) -> Arrays:
    """Check the arrays against each other, and put the parts of each below one another."""
    parts = [part for part in PARTS if f"x{part}" in arrays] or [""]
    if "x" in arrays and parts != [""]:
        raise ValueError(f"{name} has x and x{parts[0]} too: it must be one array, or parts of which one is x_train")
    if f"x{parts[0]}" not in arrays or parts[0] not in ("", "_train"):
        raise ValueError(
            f"{name} has the arrays {listed([*arrays, *others])}, but no x: call the rows x and their labels y, or "
            "x_train, y_train, x_test, y_test"
        )
    allowed = {f"{role}{part}" for role in ROLES for part in parts if role != "split" or not part}
    if stray := arrays.keys() - allowed:
        raise ValueError(f"{name} has {listed(stray)}, but no x of that name; it has {listed(arrays.keys() & allowed)}")
    x = [_numbers(arrays[f"x{part}"], f"{name}: x{part}") for part in parts]
    for part, rows in zip(parts, x, strict=True):
        if rows.shape[1:] != x[0].shape[1:]:
            raise ValueError(f"{name}: x{part} is {list(rows.shape)}, but x{parts[0]} is {list(x[0].shape)}")
        for role in ROLES[1:]:
            values = arrays.get(f"{role}{part}")
            if values is not None and values.shape != (len(rows),):
                raise ValueError(f"{name}: {role}{part} is {list(values.shape)}, expected [{len(rows)}] as x{part}")
    given = [part[1:] for part, rows in zip(parts, x, strict=True) for _ in range(len(rows))] if parts != [""] else None
    labels, group, split = (_names(arrays, role, parts, list(map(len, x)), name) for role in ROLES[1:])
    numbers = [str(i) for rows in x for i in range(len(rows))]
    keys = numbers if given is None else [f"{part}/{i}" for part, i in zip(given, numbers, strict=True)]
    notices = (f"arrays that are not read: {listed(others)}",) if others else ()
    return Arrays(torch.from_numpy(np.concatenate(x)), labels, keys, split or given, group, columns, notices)


def _names(
    arrays: Mapping[str, Array], role: str, parts: Sequence[str], sizes: Sequence[int], file: str
) -> list[str] | None:
    """The values of y, group or split over all parts; "" where a part has none, None where there is none at all."""
    names: list[str] = []
    for part, size in zip(parts, sizes, strict=True):
        values = arrays.get(f"{role}{part}")
        if values is None:
            names += [""] * size
        else:
            column = pl.Series(values)
            names += label_names(column, f"{file}: {role}{part}") if role == "y" else names_of(column)
    return names if any(names) else None


def _numbers(array: Array, where: str) -> np.ndarray:
    """Return x in a type that torch has and that keeps its values: uint8, floats as they are, else float32 or 64."""
    x = np.asarray(array)
    if x.dtype.kind not in "buif" or x.ndim < 2:
        raise ValueError(f"{where} is {list(x.shape)} of type {x.dtype}, expected rows of numbers [n, ...]")
    if not x.size:
        raise ValueError(f"{where} is {list(x.shape)}: there is nothing in it")
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind == "f" and x.itemsize <= 8:
        return x.astype(x.dtype.newbyteorder("="), copy=False)
    return x.astype(np.float32 if x.itemsize <= 2 else np.float64)


def _known(names: Sequence[str]) -> tuple[list[str], list[str]]:
    known = {f"{role}{part}" for role in ROLES for part in ("", *PARTS)}
    return [name for name in names if name in known], [name for name in names if name not in known]


def _read_npz(path: Path) -> tuple[dict[str, Array], list[str]]:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive of arrays")  # NumPy would take it for a pickle, and say so
    with np.load(path, allow_pickle=False) as file:  # a pickle would execute code
        known, others = _known(file.files)
        return {name: file[name].astype(str) if file[name].dtype.kind == "S" else file[name] for name in known}, others


def _read_safetensors(path: Path) -> tuple[dict[str, Array], list[str]]:
    tensors = load_file(path)
    known, others = _known(list(tensors))
    return {
        name: (tensors[name].float() if tensors[name].dtype == torch.bfloat16 else tensors[name]).numpy()
        for name in known
    }, others


def _read_parquet(path: Path) -> tuple[dict[str, Array], list[str], list[str]]:
    frame = pl.read_parquet(path)
    arrays: dict[str, Array] = {role: frame[role] for role in ROLES[1:] if role in frame.columns}
    features = [name for name in frame.columns if name not in ROLES]
    if "x" in frame.columns:
        return {**arrays, "x": _nested(frame["x"])}, features, []
    if words := [name for name in features if not (frame[name].dtype.is_numeric() or frame[name].dtype == pl.Boolean)]:
        raise ValueError(f"the columns {listed(words)} are no numbers; data=csv data.source={path} reads text too")
    columns = sorted(features)  # so that the order in the file makes no difference between two domains
    stacked = [frame[name].cast(pl.Float64).to_numpy() for name in columns]
    return {**arrays, **({"x": np.stack(stacked, axis=1)} if stacked else {})}, [], columns


def _nested(column: pl.Series) -> np.ndarray:
    """A column of lists of equal length, or of lists of such, as an array."""
    shape = [len(column)]
    while isinstance(column.dtype, pl.List | pl.Array):
        column = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
        lengths = column.list.len()
        if lengths.n_unique() != 1 or lengths.null_count():
            raise ValueError("the lists of column x differ in length")
        shape.append(int(lengths[0]))
        column = column.explode()
    return column.to_numpy().reshape(shape)
