"""Data sets that are tables: of features, or of files or texts with their labels."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch

from da.data.classes import listed
from da.data.columns import Columns, describe, find_columns, names_of
from da.data.files import Files
from da.data.layout import of_kind
from da.data.readers.base import OnBad, Reader
from da.data.readers.choose import READERS, make_reader
from da.data.records import Records, content_hashes, labelled_sha256
from da.data.rows import Rows, TensorRows, Transform
from da.data.scaling import ScaledData
from da.data.sheets import Content, Sheet, read_features, read_files, read_texts
from da.data.tables import SUFFIXES, read_table
from da.types import HIDDEN

Kind = Literal["features", "files", "texts"]


class TableData(ScaledData, ABC):
    """Domains that are tables; a subclass says how one is read.

    With a column of `path`s x are the files that they name, with a column of `text`s these, read as the network needs
    them. Otherwise all other columns are features: numbers, float32 [n, p], or {"numeric": [n, p], "categorical": int64
    [n, q]} if some of them are categories (`da.data.columns`).

    Args:
        source, target: domains.
        input: facts about what the network reads (`net.input`).
        label: the column of classes. The target's may be empty, or not be there.
        domain: the column that tells the domains apart.
        split: a column of "train", "val" and "test".
        group: a column of what belongs together, such as a patient: its rows go to the same part.
        path: a column of files; None: "path", if there is one.
        text: a column of texts.
        ignore: columns that are left out.
        numeric, categorical: columns that are that, whatever they look like.
        null_values: what stands in an empty cell of a .csv or .tsv file, such as "NA".
        on_bad: files and texts that can't be read are an error ("error"), or left out and counted ("skip").
        resize, augment: of `ImageReader`.
        num_features: numbers in a row; None: as many as there are.
        cardinalities: of the categories; None: what they have.
        settings: of `ScaledData`.

    Raises ValueError for tables that are not as said.
    """

    def __init__(
        self,
        source: str | int | Sequence[str | int],
        target: str | int,
        input: Mapping[str, Any] | None = None,
        label: str = "label",
        domain: str = "domain",
        split: str | None = None,
        group: str | None = None,
        path: str | None = None,
        text: str | None = None,
        ignore: Sequence[str] = (),
        numeric: Sequence[str] = (),
        categorical: Sequence[str] = (),
        null_values: Sequence[str] = (),
        on_bad: OnBad = "error",
        resize: int | None = None,
        augment: str | None = None,
        num_features: int | None = None,
        cardinalities: Sequence[int] | None = None,
        **settings: Any,
    ) -> None:
        sources = [str(source)] if isinstance(source, str | int) else [str(name) for name in source]
        super().__init__(source=sources, target=str(target), **settings)
        if path is not None and text is not None:
            raise ValueError(f"data.path={path} and data.text={text}: x are files or texts, not both")
        self.input, self.on_bad, self.path, self.text = dict(input or {}), on_bad, path, text
        self.roles = {"label": label, "domain": domain, "split": split, "group": group}
        self.null_values = tuple(null_values)
        self.ignore, self.numeric, self.categorical = tuple(ignore), tuple(numeric), tuple(categorical)
        self.for_images = {k: v for k, v in {"resize": resize, "augment": augment}.items() if v is not None}
        self.given = {
            "num_features": num_features,
            "cardinalities": None if cardinalities is None else list(cardinalities),
        }
        self._sheets: dict[str, Sheet] = {}
        self._columns: Columns | None = None

    @abstractmethod
    def sheet(self, name: str) -> Sheet:
        """Read the table of a domain."""

    @cached_property
    def kind(self) -> Kind:
        """What x are; opens the target's table if no option tells."""
        if self.text is not None:
            return "texts"
        if self.path is None and "path" not in self.ignore and "path" in self._open(self.target).frame.columns:
            self.path = "path"
        return "features" if self.path is None else "files"

    @property
    def scaled(self) -> bool:
        return self.kind == "features"

    @cached_property
    def reader(self) -> Reader:
        """What reads the files or texts."""
        return make_reader(self.input, **self.for_images)

    @property
    def columns(self) -> Columns:
        """What the features are, in all domains."""
        if self._columns is None:
            tables = {name: self._features(name) for name in (*self.sources, self.target)}
            self._columns = find_columns(tables, self.numeric, self.categorical)
            self.feature_names = self._columns.numeric
            self.notices += describe(self._columns, tables)
            self._check_columns(self._columns)
        return self._columns

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), **(_facts(self.columns) if self.kind == "features" else {})}

    def state(self) -> dict[str, Any]:
        columns = self.columns.state() if self.kind == "features" else None
        return {**super().state(), "kind": self.kind, "path": self.path, "columns": columns}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.kind, self.path = state["kind"], state["path"]
        if self.kind == "features":
            self._columns = Columns.restored(state["columns"])
            self.feature_names = self._columns.numeric

    def transforms(self, name: str) -> tuple[Transform | None, Transform | None]:
        if self.scaled:
            return super().transforms(name)
        return self.reader.train_transform, self.reader.eval_transform

    def read_records(self, name: str) -> Records:
        sheet = self._open(name)
        x, kept, hashed, notices = self._read(sheet)
        del self._sheets[name]
        split = None if sheet.split is None else [sheet.split[i] for i in kept]
        sheet = sheet._replace(frame=sheet.frame[kept], keys=[sheet.keys[i] for i in kept])
        labels = self._labels(sheet, name)
        content, sha256 = content_hashes(hashed)
        return Records(
            x=x,
            labels=labels,
            keys=self._keys(sheet),
            content=content,
            sha256=labelled_sha256(sha256, labels),
            split=self._names(sheet, "split") or split,
            group=self._names(sheet, "group"),
            notices=notices,
        )

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        sheet = self._new_sheet(where)
        x, kept, _, notices = self._read(sheet)
        self.notices += [f"{where}: {notice}" for notice in notices]
        y = torch.full((len(kept),), HIDDEN)
        keys = self._keys(sheet)
        return TensorRows(x, y, len(self.sources), self.transforms(self.target)[1]), [keys[i] for i in kept]

    def _new_sheet(self, where: str) -> Sheet:
        """The rows of a table; if x are files: or all those in a folder or archive, or one file."""
        path = Path(where).expanduser()
        if self.kind == "files" and path.suffix not in SUFFIXES:
            one = path.suffix.lower() in self.reader.suffixes
            files = Files(path.parent, names=[path.name]) if one else Files(path)
            names, others = of_kind(files.names, self.reader.suffixes)
            if others:
                self.notices.append(f"{where}: {others.total()} files of other kinds left out")
            return Sheet(where, pl.DataFrame({self.path: names}), names, files)
        frame = read_table(where, self.null_values)
        return Sheet(where, frame, row_numbers(frame), Files(path.parent, names=[]))

    def _read(self, sheet: Sheet) -> Content:
        if self.kind == "features":
            return read_features(sheet, self.columns, self.on_nan)
        if self.kind == "files":
            return read_files(sheet, str(self.path), self.reader, self.on_bad)
        return read_texts(sheet, str(self.text), self.reader, self.on_bad)

    def _open(self, name: str) -> Sheet:
        if name not in self._sheets:
            self._sheets[name] = self.sheet(name)
        return self._sheets[name]

    def _keys(self, sheet: Sheet) -> Sequence[str]:
        return names_of(sheet.frame[self.path]) if self.path is not None else sheet.keys

    def _names(self, sheet: Sheet, role: str) -> list[str] | None:
        column = self.roles[role]
        return None if column is None else names_of(sheet.column(column, role))

    def _labels(self, sheet: Sheet, name: str) -> list[str] | None:
        column = str(self.roles["label"])
        if name == self.target and column not in sheet.frame.columns:
            return None
        labels = sheet.labels(column)
        if name != self.target and (labels is None or "" in labels):
            empty = [key for key, label in zip(sheet.keys, labels or [""] * len(sheet.keys), strict=True) if not label]
            raise ValueError(f"{sheet.where}: the source has no label in rows {listed(empty)} (counted from 0)")
        return labels

    def _features(self, name: str) -> pl.DataFrame:
        """The columns of a domain's table that have no other role."""
        frame = self._open(name).frame
        if unknown := set(self.ignore) - set(frame.columns):
            raise ValueError(f"data.ignore names {listed(unknown)}, but {name} has {', '.join(frame.columns)}")
        return frame.drop([*self.ignore, *filter(None, self.roles.values())], strict=False)

    def _check_columns(self, columns: Columns) -> None:
        """Raise ValueError if the config has other facts, or the network reads no such rows."""
        if READERS.keys() & self.input.keys():
            raise ValueError(
                f"the network reads files or texts (net.input={self.input}), but no column of them is named: "
                "data.path=COLUMN or data.text=COLUMN. Rows of features are for net=mlp or tabular"
            )
        if columns.categories and "features" in self.input and "cardinalities" not in self.input:
            raise ValueError(
                f"the columns {listed(columns.categories)} are no numbers, and the network reads nothing else; "
                "net=tabular reads both"
            )
        for option, value in _facts(columns).items():
            if self.given[option] not in (None, value):
                raise ValueError(f"data.{option}={self.given[option]}, but the tables have {value}")


def row_numbers(frame: pl.DataFrame) -> list[str]:
    """Return the keys of rows that have no others."""
    return list(map(str, range(len(frame))))


def _facts(columns: Columns) -> dict[str, Any]:
    return {"num_features": len(columns.numeric), "cardinalities": columns.cardinalities}
