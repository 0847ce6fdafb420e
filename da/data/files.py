"""Files below a folder or in a zip archive, named and read in one way."""

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from threading import Lock
from zipfile import BadZipFile, ZipFile


class Files:
    """The files below `where`, a folder or a .zip archive.

    Attributes:
        names: paths from there, with forward slashes, in order; nothing whose name begins with a dot or "__".

    Raises:
        FileNotFoundError: there is no such folder or archive.
        ValueError: it is neither.
    """

    def __init__(self, where: str | Path) -> None:
        self.where = Path(where).expanduser()
        self._zip: ZipFile | None = None
        self._lock = Lock()  # an archive has one place to read at
        if self.where.is_dir():
            paths = (path for path in self.where.rglob("*") if path.is_file())
            names = [path.relative_to(self.where).as_posix() for path in paths]
        elif self.where.is_file():
            try:
                self._zip = ZipFile(self.where)
            except BadZipFile as error:
                raise ValueError(f"{self.where} is neither a folder nor a zip archive: {error}") from error
            names = [name for name in self._zip.namelist() if not name.endswith("/")]
        else:
            raise FileNotFoundError(f"there is no folder or archive {self.where}")
        self.names = sorted(name for name in names if not _hidden(name))

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        if self._zip is None:
            return (self.where / name).read_bytes()
        with self._lock:
            return self._zip.read(name)

    def sha256(self, names: Sequence[str]) -> list[str]:
        """Return the sha256 of every file's content."""
        return [hashlib.sha256(self.read(name)).hexdigest() for name in names]


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__")) for part in PurePosixPath(name).parts)
