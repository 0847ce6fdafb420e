"""The columns of a table, as names of classes and groups, as numbers, and as categories."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from da.data.classes import SHOWN, listed, natural

MANY_CLASSES = 100  # from here on numbers of which most rows have their own are no classes
MANY_VALUES = 50  # from here on categories of which most rows have their own are worth a notice


def names_of(column: pl.Series) -> list[str]:
    """Return every value as a name: whole numbers without a point, "" for a value that is missing."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        numbers = column.drop_nulls()
        if ((numbers % 1 == 0) & (numbers.abs() < 2**53)).all():
            column = column.cast(pl.Int64)
    names: list[str] = column.cast(pl.String).fill_null("").to_list()
    return names


def label_names(column: pl.Series, where: str) -> list[str]:
    """Return the class of every row, "" where there is none; ValueError for values that are no classes."""
    if not (_is_number(column) or _is_text(column)):
        raise ValueError(f"{where}: the labels are of type {column.dtype}: classes are names or whole numbers")
    if column.dtype.is_float():
        numbers = column.fill_nan(None).drop_nulls()
        fractions = numbers.filter(numbers % 1 != 0)
        if len(fractions):
            raise ValueError(
                f"{where}: {len(fractions)} labels are fractions, such as {fractions[0]}: classes are names or whole "
                "numbers; a measured quantity must be cut into classes first"
            )
    names = names_of(column)
    distinct = len(set(names) - {""})
    if _is_number(column) and distinct > max(MANY_CLASSES, len(names) / 2):
        raise ValueError(
            f"{where}: the labels are {distinct} different numbers in {len(names)} rows: these are no classes"
        )
    return names


def text_hashes(texts: Sequence[str]) -> np.ndarray:
    """Return a hash of every text, uint64 [N], the same on every machine."""
    known = {text: int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") for text in set(texts)}
    return np.array([known[text] for text in texts], dtype=np.uint64)


@dataclass(frozen=True)
class Columns:
    """The features of a table by name: those that are numbers, and those that are categories with all their values."""

    numeric: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.numeric, *self.categories)

    @property
    def cardinalities(self) -> list[int]:
        """How many codes each category has: one for each of its values, and 0 for any other."""
        return [len(values) + 1 for values in self.categories.values()]

    def numbers(self, frame: pl.DataFrame, where: str) -> Tensor:
        """Return the numbers of all rows, float64 [n, p]; NaN for what is missing."""
        columns = [_numbers(frame[name], where).to_numpy() for name in self.numeric]
        return torch.from_numpy(np.stack(columns, axis=1) if columns else np.empty((len(frame), 0)))

    def codes(self, frame: pl.DataFrame) -> Tensor:
        """Return the categories of all rows, int64 [n, q]: 1, 2, ... for the known values, 0 for others."""
        codes = torch.empty(len(frame), len(self.categories), dtype=torch.long)
        for j, (name, values) in enumerate(self.categories.items()):
            number = {value: i for i, value in enumerate(values, 1)}
            codes[:, j] = torch.tensor([number.get(value, 0) for value in names_of(frame[name])], dtype=torch.long)
        return codes

    def hashable(self, frame: pl.DataFrame, numbers: Tensor) -> list[np.ndarray]:
        """Return what the rows hold as arrays [n, ...], whatever the categories of other tables."""
        hashes = [text_hashes(names_of(frame[name])) for name in self.categories]
        return [numbers.numpy(), *hashes]

    def state(self) -> dict[str, Any]:
        """Return both in json's types."""
        return {"numeric": list(self.numeric), "categories": {k: list(v) for k, v in self.categories.items()}}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Self:
        """Return the columns of a `state`."""
        return cls(tuple(state["numeric"]), {name: tuple(values) for name, values in state["categories"].items()})


def find_columns(
    tables: Mapping[str, pl.DataFrame], numeric: Collection[str] = (), categorical: Collection[str] = ()
) -> Columns:
    """Return what the features are, given the tables of all domains, by name, that hold these and no other columns.

    By type, unless `numeric` or `categorical` says what a column is. A category has the values of all domains, in
    natural order; a missing value is one of them, "", where there is any. Raises ValueError for columns that not all
    domains have, or that are neither numbers nor text, or not the same everywhere, or numbers with a few other words.
    """
    first, *_ = tables
    names = tables[first].columns
    for where, table in tables.items():
        for extra, side in ((set(names) - set(table.columns), first), (set(table.columns) - set(names), where)):
            if extra:
                other = where if side == first else first
                raise ValueError(
                    f"{side} has the columns {listed(extra)}, and {other} has not: name them alike, or leave them out "
                    "(data.ignore)"
                )
    for option, chosen in (("numeric", numeric), ("categorical", categorical)):
        if unknown := set(chosen) - set(names):
            raise ValueError(f"data.{option} names {listed(unknown)}, but the features are {listed(names)}")
    if both := set(numeric) & set(categorical):
        raise ValueError(f"data.numeric and data.categorical both name {listed(both)}")
    if not names:
        raise ValueError(f"{first} has no column of features")
    texts = [
        name
        for name in names
        if name in categorical or (name not in numeric and _is_category(name, {w: t[name] for w, t in tables.items()}))
    ]
    values = {name: natural(value for table in tables.values() for value in names_of(table[name])) for name in texts}
    return Columns(
        tuple(name for name in names if name not in texts), {name: tuple(known) for name, known in values.items()}
    )


def describe(columns: Columns, tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """Return what a user should know of the features: which they are, and which categories look like names of rows."""
    kinds = {"numbers": columns.numeric, "categories": columns.categories}
    said = [f"{len(names)} features are {kind}: {_some(names)}" for kind, names in kinds.items() if names]
    rows = sum(map(len, tables.values()))
    for name, values in columns.categories.items():
        if len(values) > max(MANY_VALUES, rows / 2):
            said.append(f"column {name!r} has {len(values)} values in {rows} rows: data.ignore=[{name}] leaves it out")
        if "" in values:
            missing = sum(names_of(table[name]).count("") for table in tables.values())
            said.append(f"column {name!r} is empty in {missing} rows: this is a value of its own")
    return said


def _is_category(name: str, columns: Mapping[str, pl.Series]) -> bool:
    """Whether a column is text, in all domains where it is not empty."""
    text = {}
    for where, column in columns.items():
        if not (_is_number(column) or _is_text(column)):
            raise ValueError(
                f"{where}: column {name!r} is of type {column.dtype}, neither numbers nor text: data.ignore=[{name}] "
                "leaves it out"
            )
        if column.null_count() < len(column):
            text[where] = _is_text(column)
    if len(set(text.values())) > 1:
        numbers, texts = (next(where for where, is_text in text.items() if is_text is kind) for kind in (False, True))
        example = (_no_numbers(columns[texts]) or columns[texts].drop_nulls())[0]
        raise ValueError(
            f"column {name!r} holds numbers in {numbers}, but text in {texts}, such as {example!r}. {_gap(example)}"
            f"; if the numbers are names: data.categorical=[{name}]"
        )
    if not any(text.values()):
        return False
    for where, column in columns.items():
        words = _no_numbers(column)
        if 0 < len(words) < len(column.drop_nulls()) / 2:
            raise ValueError(
                f"{where}: column {name!r} holds numbers, but also {listed(words)}. {_gap(words[0])}; if the numbers "
                f"are names: data.categorical=[{name}]"
            )
    return True


def _numbers(column: pl.Series, where: str) -> pl.Series:
    if not (_is_number(column) or _is_text(column)):
        raise ValueError(f"{where}: column {column.name!r} is of type {column.dtype}, but should hold numbers")
    if _is_text(column) and (words := _no_numbers(column)):
        raise ValueError(
            f"{where}: column {column.name!r} should hold numbers, but holds {listed(words)}. {_gap(words[0])}"
        )
    return column.cast(pl.String).cast(pl.Float64) if _is_text(column) else column.cast(pl.Float64)


def _gap(word: str) -> str:
    return f"If {word!r} means that there is none, leave it empty (in a csv file: data.null_values=[{word}])"


def _no_numbers(column: pl.Series) -> list[str]:
    """What a column of text has that does not read as a number, once for every row."""
    texts = column.cast(pl.String)
    read = texts.cast(pl.Float64, strict=False).fill_nan(None)
    words: list[str] = texts.filter(texts.is_not_null() & read.is_null()).to_list()
    return words


def _is_number(column: pl.Series) -> bool:
    return bool(column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null))


def _is_text(column: pl.Series) -> bool:
    return column.dtype in (pl.String, pl.Categorical, pl.Enum)


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    rest = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + rest
