"""A user's own tables: domains in a column, or a file for each."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import polars as pl

from da.data.classes import listed
from da.data.columns import names_of
from da.data.files import Files
from da.data.records import file_label
from da.data.sheets import Sheet
from da.data.table_data import TableData, row_numbers
from da.data.tables import read_table


@final
class Csv(TableData):
    """Domains in tables: .csv, .tsv, .parquet or .jsonl.

    Args:
        source, target: with a `table`, values of its column `domain`; else files.
        table: the file that has all domains.
        root: folder or .zip archive that the paths of files start from; None: the folder of the table.
        settings: of `TableData`.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it can't be read, or has no such domain.
    """

    def __init__(
        self,
        source: str | int | Sequence[str | int],
        target: str | int,
        table: str | None = None,
        root: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(source=source, target=target, **settings)
        self.table, self.root = table, root

    def short_name(self, name: str) -> str:
        return name if self.table is not None else file_label(name, (*self.sources, self.target))

    def sheet(self, name: str) -> Sheet:
        if self.table is None:
            frame = read_table(name, self.null_values)
            return Sheet(Path(name).name, frame, row_numbers(frame), self._files(name))
        frame, domains = self._whole
        if name not in domains:
            raise ValueError(
                f"no row of {self.table} has {name!r} in column {self.roles['domain']!r}; there are {listed(domains)}"
            )
        own = [i for i, domain in enumerate(domains) if domain == name]
        return Sheet(f"{Path(self.table).name}, {name}", frame[own], list(map(str, own)), self._files(self.table))

    @cached_property
    def _whole(self) -> tuple[pl.DataFrame, list[str]]:
        """The table with all domains, and the domain of every row."""
        frame = read_table(str(self.table), self.null_values)
        column = str(self.roles["domain"])
        return frame, names_of(Sheet(str(self.table), frame, []).column(column, "domain"))

    def _files(self, table: str) -> Files:
        return Files(Path(table).expanduser().parent if self.root is None else self.root, names=[])
