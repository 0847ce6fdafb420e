"""Data sets whose domains and classes are known before a file is opened, and whose files have known places."""

import sys
from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch.hub import download_url_to_file

from da.data import download
from da.data.classes import listed
from da.data.files import Files
from da.data.readers.base import Reader
from da.data.record_data import RecordData
from da.data.rows import TensorRows
from da.types import HIDDEN

OnBad = Literal["error", "skip"]
"""What becomes of files that can't be read."""


class Origin(NamedTuple):
    """Where a data set is looked for, and what to do if it is nowhere."""

    places: tuple[str, ...]  # files or folders below the root: the first that is there is read
    fetch: str  # what to get from where, and where to put it
    url: str | None = None  # downloaded from there to the last of `places`; None: the owner has not allowed it


class ShippedData(RecordData, ABC):
    """Domains `known_names` of the classes `known_classes`, from files below a folder of data.

    Args:
        source: a domain, or several; a number where that is its name.
        target: a domain.
        root: folder of the data; None: the environment variable DA_DATA_ROOT.
        settings: of `RecordData`.

    Raises:
        ValueError: an unknown domain.
        FileNotFoundError: there are no files and they can't be downloaded; says what to get and where to put it.
    """

    known_names: tuple[str, ...]
    known_classes: tuple[str, ...]

    def __init__(
        self, source: str | int | Sequence[str | int], target: str | int, root: str | None = None, **settings: Any
    ) -> None:
        sources = [source] if isinstance(source, str | int) else source
        super().__init__(source=list(map(str, sources)), target=str(target), **settings)
        self.root = root
        for name in (*self.sources, self.target):
            self.check_name(name)

    def check_name(self, name: str) -> None:
        """Raise ValueError for a domain that there is not."""
        if name not in self.known_names:
            raise ValueError(
                f"there is no domain {name!r}: data.source and data.target are of {listed(self.known_names)}"
            )

    def labels(self, name: str) -> set[str]:
        return set(self.known_classes)

    def unlabelled(self, x: Any, rows: int) -> TensorRows:
        """Return so many new rows, treated as the target's that are scored."""
        y = torch.full((rows,), HIDDEN)
        return TensorRows(x, y, len(self.sources), self.transforms(self.target)[1])

    def read_inputs(self, reader: Reader, where: str, on_bad: OnBad) -> tuple[TensorRows, list[str]]:
        """Return the rows and names of a file, or of all files in a folder or archive that the reader reads.

        Files that can't be read are an error, or are left out with a notice ("skip"). Raises ValueError for them, and
        if none is left.
        """
        path = Path(where).expanduser()
        single = path.is_file() and path.suffix.lower() in reader.suffixes
        files = Files(path.parent, names=[path.name]) if single else Files(path)
        names = [name for name in files.names if name.lower().endswith(reader.suffixes)]
        read = reader.read(files, names)
        said = f"{len(read.bad)} of {len(names)} files {', '.join(reader.suffixes)} can't be read" + "".join(
            f"; {name}: {reason}" for name, reason in list(read.bad.items())[:5]
        )
        if not read.good or (read.bad and on_bad == "error"):
            raise ValueError(f"{where}: {said}")
        self.notices += [f"{where}: {said}"] * bool(read.bad)
        return self.unlabelled(read.x, len(read.good)), [names[i] for i in read.good]


def locate(origin: Origin, root: str | None) -> Path:
    """Return the first of the places that is there, below the root or where an earlier run has downloaded it to.

    Raises FileNotFoundError saying what to do.
    """
    folder = download.data_root(root)
    for place in origin.places:
        if folder is not None and (folder / place).exists():
            return folder / place
    target = (folder or download.CACHE.expanduser()) / origin.places[-1]
    looked = f"no {' or '.join(origin.places)} below {folder}" if folder else "no folder of data is named"
    try:
        if origin.url is None:
            raise FileNotFoundError("it is not downloaded: its owner has given no leave")
        return download.open_or_download(lambda fetch: _download(str(origin.url), target, fetch), origin.url)
    except (OSError, RuntimeError, EOFError) as error:
        raise FileNotFoundError(f"{looked}; {error}. Get {origin.fetch}. {download.how_to_set_root(root)}") from error


def _download(url: str, target: Path, fetch: bool) -> Path:
    if fetch:
        target.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(url, str(target), progress=sys.stderr.isatty())  # moved there when it is whole
    if not target.exists():
        raise FileNotFoundError(f"no {target}")
    return target
