"""Data sets of Hugging Face `datasets`, from the hub or from files."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, final

import polars as pl

from da.data.classes import listed
from da.data.columns import names_of
from da.data.files import Files
from da.data.layout import SPLITS
from da.data.sheets import Sheet
from da.data.table_data import TableData

FILES = {".csv": "csv", ".parquet": "parquet", ".json": "json", ".jsonl": "json"}


class MemoryFiles(Files):
    """Files whose contents are in memory already, or lie anywhere on disk."""

    def __init__(self, contents: Mapping[str, bytes | Path]) -> None:
        self.contents, self.names, self.folders = contents, list(contents), []

    def read(self, name: str) -> bytes:
        content = self.contents[name]
        return content.read_bytes() if isinstance(content, Path) else content

    def sha256(self, names: Sequence[str]) -> list[str]:
        return [hashlib.sha256(self.read(name)).hexdigest() for name in names]


@final
class HuggingFace(TableData):
    """Domains of one data set of the library `datasets`.

    A column of images or sounds is read as files are, unless `text` or `ignore` says otherwise. The splits train,
    validation and test of the data set are the parts of every domain, if it has more than one.

    Args:
        dataset: name on the hub, a folder of `save_to_disk` or of data files, or a file: .csv, .parquet, .json, .jsonl.
        source, target: what they name, `domains` tells.
        domains: "column": values of the column `domain`; "config": configurations of the data set; "split": its splits,
            which then are no parts.
        splits: which splits are read; None: all.
        revision: commit, tag or branch on the hub; None: the newest.
        settings: of `TableData`.

    Raises:
        ImportError: `datasets` is not installed.
        ValueError: there is no such data set, configuration, split or domain.
    """

    def __init__(
        self,
        dataset: str,
        source: str | int | Sequence[str | int],
        target: str | int,
        domains: Literal["column", "config", "split"] = "column",
        splits: Sequence[str] | None = None,
        revision: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(source=source, target=target, **settings)
        self.dataset, self.domains, self.revision = dataset, domains, revision
        self.splits = None if splits is None else tuple(splits)

    @cached_property
    def _library(self) -> Any:
        try:
            return import_module("datasets")
        except ImportError as error:
            raise ImportError("data=huggingface needs datasets: pip install 'lambda-da[huggingface]'") from error

    def sheet(self, name: str) -> Sheet:
        if self.domains == "split":
            if name not in self._whole:
                raise ValueError(f"{self.dataset} has no split {name!r}; it has {listed(self._whole)}")
            rows = self._whole[name]
            return self._sheet(name, {name: (rows, range(len(rows)))})
        if self.domains == "config":
            return self._sheet(name, {part: (rows, range(len(rows))) for part, rows in self._load(name).items()})
        column, parts = str(self.roles["domain"]), {}
        found: set[str] = set()
        for split, rows in self._whole.items():
            if column not in rows.column_names:
                raise ValueError(
                    f"{self.dataset} has no column {column!r} (data.domain), but {', '.join(rows.column_names)}; "
                    "data.domains=config or split, if the domains are its configurations or splits"
                )
            domains = names_of(self._named(rows.select_columns([column]))[column])
            found |= set(domains)
            parts[split] = rows, [i for i, domain in enumerate(domains) if domain == name]
        if name not in found:
            raise ValueError(f"no row of {self.dataset} has {name!r} in column {column!r}; there are {listed(found)}")
        return self._sheet(name, parts)

    def _sheet(self, name: str, parts: Mapping[str, tuple[Any, Sequence[int]]]) -> Sheet:
        """The rows of a domain, given their numbers in each split."""
        split = None
        if len(parts) > 1:
            if unknown := parts.keys() - SPLITS.keys():
                raise ValueError(
                    f"{self.dataset} has the splits {listed(parts)}, of which {listed(unknown)} is none of "
                    f"{', '.join(SPLITS)}: data.splits=[...] names those to read"
                )
            split = [SPLITS[part] for part, (_, numbers) in parts.items() for _ in numbers]
        keys = [f"{part}/{i}" for part, (_, numbers) in parts.items() for i in numbers]
        frame = pl.concat([self._named(rows.select(numbers)) for rows, numbers in parts.values()])
        media = self._media(next(iter(parts.values()))[0].features)
        if media is None:
            folder = Path(self.dataset).expanduser()
            return Sheet(name, frame, keys, Files(folder if folder.is_dir() else ".", names=[]), split)
        contents = _contents(frame[media].struct.unnest(), keys)
        return Sheet(name, frame.with_columns(pl.Series(media, list(contents))), keys, MemoryFiles(contents), split)

    def _media(self, features: Mapping[str, Any]) -> str | None:
        """The column of images or sounds to be read, which is that of the paths from now on."""
        kinds = self._library.Image, self._library.Audio
        media = [name for name, kind in features.items() if isinstance(kind, kinds) and name not in self.ignore]
        if self.text is not None or not media or self.path not in (None, *media):
            return None
        if len(media) > 1 and self.path is None:
            raise ValueError(f"{self.dataset} has the columns {listed(media)}: data.path names the one to read")
        self.path = self.path or media[0]
        return self.path

    def _named(self, rows: Any) -> pl.DataFrame:
        """The rows with names of classes instead of their numbers, and with images and sounds as they are in files."""
        for name, kind in rows.features.items():
            if isinstance(kind, self._library.Image | self._library.Audio):
                rows = rows.cast_column(name, type(kind)(decode=False))
        frame: pl.DataFrame = rows.to_polars()
        classes = {name: kind.names for name, kind in rows.features.items() if hasattr(kind, "int2str")}
        return frame.with_columns(
            pl.Series(name, [None if i is None or i < 0 else known[i] for i in frame[name]], dtype=pl.String)
            for name, known in classes.items()
        )

    @cached_property
    def _whole(self) -> dict[str, Any]:
        return self._load(None)

    def _load(self, config: str | None) -> dict[str, Any]:
        """Return the splits of the data set."""
        library, path = self._library, Path(self.dataset).expanduser()
        saved = (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()
        if config is not None and (saved or path.is_file()):
            raise ValueError(f"data.domains=config, but {self.dataset} is one data set without configurations")
        try:
            if saved:
                loaded = library.load_from_disk(str(path))
            elif path.is_file() and path.suffix in FILES:
                loaded = library.load_dataset(FILES[path.suffix], data_files=str(path))
            else:
                name = str(path) if path.exists() else self.dataset
                loaded = library.load_dataset(name, config, revision=self.revision)
        except (OSError, ValueError, library.exceptions.DatasetsError) as error:
            what = f"data.dataset={self.dataset}" + (f", configuration {config}" if config else "")
            raise ValueError(f"can't load {what}: {str(error).splitlines()[0]}") from error
        parts = {"train": loaded} if isinstance(loaded, library.Dataset) else dict(loaded)
        if unknown := set(self.splits or ()) - parts.keys():
            raise ValueError(f"data.splits names {listed(unknown)}, but {self.dataset} has {listed(parts)}")
        return parts if self.splits is None else {split: parts[split] for split in self.splits}


def _contents(media: pl.DataFrame, keys: Sequence[str]) -> dict[str, bytes | Path]:
    """Images or sounds, rows of bytes and path of which one may be missing, by their key and the suffix of the path."""
    contents: dict[str, bytes | Path] = {}
    for key, content, path in zip(keys, media["bytes"], media["path"], strict=True):
        known = content if content is not None else b"" if path is None else Path(path)
        contents[key + Path(path or "").suffix.lower()] = known
    return contents
