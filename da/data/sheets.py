"""The rows of one table, and what the network gets of them: features, files or texts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from da.data.classes import listed
from da.data.columns import Columns, label_names, names_of, text_hashes
from da.data.files import Files
from da.data.readers.base import OnBad, Reader, read_good
from da.data.readers.text import TextReader
from da.data.scaling import OnNan, find_gaps


class Sheet(NamedTuple):
    """The rows of a domain in its table."""

    where: str  # what messages call it
    frame: pl.DataFrame
    keys: Sequence[str]  # the number of every row, or the path of its file
    files: Files | None = None  # where the files are that it names
    split: Sequence[str] | None = None  # where no column says it

    def column(self, name: str, option: str) -> pl.Series:
        """Return a column; ValueError naming the option that asks for it if it is not there."""
        if name not in self.frame.columns:
            raise ValueError(
                f"{self.where} has no column {name!r} (data.{option}); it has {', '.join(self.frame.columns)}"
            )
        return self.frame[name]

    def labels(self, name: str) -> list[str] | None:
        """Return the class of every row; None if no row has one."""
        labels = label_names(self.column(name, "label"), self.where)
        return labels if any(labels) else None


class Content(NamedTuple):
    """What the network gets of a sheet's rows."""

    x: Any
    kept: Sequence[int]  # their numbers in the sheet: others were left out
    hashed: list[np.ndarray]  # what they hold, arrays [n, ...]
    notices: tuple[str, ...] = ()


def read_files(sheet: Sheet, path: str, reader: Reader, on_bad: OnBad) -> Content:
    """Return what the files hold that the column `path` names."""
    assert sheet.files is not None
    names = names_of(sheet.column(path, "path"))
    if empty := [key for key, name in zip(sheet.keys, names, strict=True) if not name]:
        raise ValueError(f"{sheet.where} names no file in rows {listed(empty)} (counted from 0)")
    read, notices = read_good(reader, sheet.files, names, sheet.where, on_bad)
    if twice := len(names) - len(set(names)):
        notices.append(f"{twice} rows name a file that an earlier row names too")
    hashes = text_hashes(sheet.files.sha256([names[i] for i in read.good]))
    return Content(read.x, read.good, [hashes], tuple(notices))


def read_texts(sheet: Sheet, text: str, reader: Reader, on_bad: OnBad) -> Content:
    """Return the tokens of the texts in the column `text`."""
    if not isinstance(reader, TextReader):
        raise ValueError(f"data.text={text}, but the network reads no texts; net=transformer does")
    texts = names_of(sheet.column(text, "text"))
    kept = [i for i, words in enumerate(texts) if words.strip()]
    notices = []
    if len(kept) < len(texts):
        empty = [key for key, words in zip(sheet.keys, texts, strict=True) if not words.strip()]
        said = f"{len(empty)} of {len(texts)} texts are empty, in rows {listed(empty)} (counted from 0)"
        if on_bad == "error" or not kept:
            raise ValueError(f"{sheet.where}: {said}. data.on_bad=skip leaves them out")
        notices = [f"left out: {said}"]
    texts = [texts[i] for i in kept]
    return Content(reader.encode(texts), kept, [text_hashes(texts)], tuple(notices))


def read_features(sheet: Sheet, columns: Columns, on_nan: OnNan) -> Content:
    """Return numbers float64 [n, p], or {"numeric": [n, p], "categorical": int64 [n, q]} if there are categories."""
    if missing := set(columns.names) - set(sheet.frame.columns):
        raise ValueError(f"{sheet.where} has no column {listed(missing)}; the network reads {', '.join(columns.names)}")
    numbers = columns.numbers(sheet.frame, sheet.where)
    found, notices = find_gaps(numbers, on_nan, sheet.where, columns.numeric)
    kept = list(range(len(numbers))) if found is None else found.tolist()
    frame, numbers = sheet.frame[kept], numbers[torch.tensor(kept)]
    codes = columns.codes(frame)
    for name, unknown in zip(columns.categories, (codes == 0).sum(0).tolist(), strict=True):
        if unknown:
            notices = (*notices, f"{unknown} values of column {name!r} were not trained on")
    x = {"numeric": numbers, "categorical": codes} if columns.categories else numbers
    return Content(x, kept, columns.hashable(frame, numbers), notices)
