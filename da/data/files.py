"""Files below a folder or in a zip archive, named and read in one way."""

import hashlib
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from threading import Lock
from zipfile import BadZipFile, ZipFile

from da.data.store import read_note, write_note

UNREADABLE = (OSError, BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
"""What reading one file raises: no permission, or a damaged, encrypted or strangely packed member of an archive."""

SETTLED = 2.0  # seconds after a change from which on a file's time tells whether it was changed again

Stamp = tuple[int, int]  # size and time of the last change in ns


class Files:
    """The files below `where`, a folder or a .zip archive, and there below the folder `inside`.

    Folders that are links are followed. Nothing is unpacked.

    Args:
        where: a folder, or an archive.
        inside: a folder in it; "": all of it.
        names: of the files that matter, if they are known: then nothing is searched.

    Attributes:
        names: paths from there, with forward slashes, in order; nothing whose name begins with a dot or "__".
        folders: paths of the folders, likewise, the empty ones too.

    Raises:
        FileNotFoundError: there is no such folder or archive.
        ValueError: it is neither.
    """

    def __init__(self, where: str | Path, inside: str = "", names: Sequence[str] | None = None) -> None:
        self.where, self.inside = Path(where).expanduser(), PurePosixPath(inside)
        self._zip: ZipFile | None = None
        self._lock = Lock()  # an archive has one place to read at
        self._hashes: dict[str, str] = {}
        if not self.where.exists():
            raise FileNotFoundError(f"there is no folder or archive {self.where}")
        if self.where.is_file():
            try:
                self._zip = ZipFile(self.where)
            except BadZipFile as error:
                raise ValueError(f"{self.where} is neither a folder nor a zip archive: {error}") from error
        if names is not None:
            self.names, self.folders = list(names), []
            return
        found, folders = _walk(self.where / self.inside) if self._zip is None else _members(self._zip, self.inside)
        if not folders:
            raise FileNotFoundError(f"there is no folder {inside} in {self.where}")
        self.names = sorted(name for name in found if not _hidden(name))
        self.folders = sorted(name for name in folders if name != "." and not _hidden(name))

    def read(self, name: str) -> bytes:
        """Return the content of a file; raises one of `UNREADABLE`."""
        if self._zip is None:
            return (self.where / self.inside / name).read_bytes()
        with self._lock:
            try:
                return self._zip.read(str(self.inside / name))
            except KeyError as error:
                raise FileNotFoundError(f"there is no {self.inside / name} in {self.where}") from error

    def sha256(self, names: Sequence[str]) -> list[str]:
        """Return the sha256 of every file's content; "" for what can't be read.

        A file is read once: its hash is noted in the cache, and holds while its size and its time of change (of the
        archive that it is in) are the same.
        """
        if missing := [name for name in names if name not in self._hashes]:
            self._hashes |= _remembered(self.where / self.inside, self._stamps(missing), self._hash)
        return [self._hashes[name] for name in names]

    def _stamps(self, names: Sequence[str]) -> dict[str, Stamp | None]:
        if self._zip is not None:
            return dict.fromkeys(names, _stamp(self.where))
        return {name: _stamp(self.where / self.inside / name) for name in names}

    def _hash(self, name: str) -> str:
        try:
            return hashlib.sha256(self.read(name)).hexdigest()
        except UNREADABLE:
            return ""


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, read once: it is noted in the cache as those of `Files` are."""

    def read(name: str) -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return _remembered(path, {"": _stamp(path)}, read)[""]  # no member of an archive is named so


def _remembered(where: Path, stamps: Mapping[str, Stamp | None], compute: Callable[[str], str]) -> dict[str, str]:
    """Return a hash for every name: the one noted under `where` if its stamp is the same, else a new one."""
    place = str(where.absolute())
    noted = read_note(place)
    hashes, new = {}, {}
    settled = time.time_ns() - SETTLED * 1e9
    for name, stamp in stamps.items():
        size, changed, known = noted.get(name, (None, None, ""))
        if stamp is None or stamp != (size, changed):
            known = compute(name)
            if known and stamp is not None and stamp[1] < settled:
                new[name] = [*stamp, known]
        hashes[name] = known
    if new:
        write_note(place, {**noted, **new})
    return hashes


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _walk(where: Path) -> tuple[list[str], list[str]]:
    """Paths of the files and of the folders below a folder, "." first; a link to a folder above is not followed."""
    files, folders = [], []
    real: dict[Path, Path] = {}
    for name, below, names in os.walk(where, followlinks=True):
        folder = Path(name)
        real[folder] = folder.resolve()
        if any(real.get(above) == real[folder] for above in folder.parents):
            below.clear()
            continue
        inside = folder.relative_to(where)
        folders.append(inside.as_posix())
        files += [(inside / name).as_posix() for name in names]
    return files, folders


def _members(archive: ZipFile, inside: PurePosixPath) -> tuple[list[str], list[str]]:
    """The same of an archive; it need not list its folders."""
    files, folders = [], set()
    for member in archive.namelist():
        path = PurePosixPath(member)
        if not path.is_relative_to(inside):
            continue
        name = path.relative_to(inside)
        folders |= {parent.as_posix() for parent in name.parents}
        if member.endswith("/"):
            folders.add(name.as_posix())
        else:
            files.append(name.as_posix())
    return files, sorted(folders)


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__")) for part in PurePosixPath(name).parts)
