"""Files by name from an archive as it was published: a folder, a tar, a zip, or a zip within a zip."""

import tarfile
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile


def read_members(where: Path, wanted: Iterable[str], inner: str = "") -> dict[str, bytes]:
    """Return the content of the files of these names, in whatever folder of the archive.

    `inner` is a zip archive that may stand in for them. Raises ValueError if a file is missing or the archive is
    damaged.
    """
    names = set(wanted)
    try:
        found = dict(_members(where, names, inner))
    except (BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{where} is damaged: {error}. Remove it and get it again") from error
    if missing := sorted(names - found.keys()):
        raise ValueError(f"{where} is not the archive it should be: it lacks {', '.join(missing[:5])}")
    return found


def _members(where: Path, names: set[str], inner: str) -> Iterator[tuple[str, bytes]]:
    if where.is_dir():
        for path in sorted(where.rglob("*")):
            if path.name in names and path.is_file():
                yield path.name, path.read_bytes()
    elif tarfile.is_tarfile(where):
        with tarfile.open(where) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in names and (content := archive.extractfile(member)):
                    yield name, content.read()
    else:
        with where.open("rb") as file:
            yield from _zipped(file, names, inner)


def _zipped(file: BinaryIO, names: set[str], inner: str) -> Iterator[tuple[str, bytes]]:
    with ZipFile(file) as archive:
        for path in archive.namelist():
            name = PurePosixPath(path).name
            if name in names:
                yield name, archive.read(path)
            elif name == inner:
                yield from _zipped(BytesIO(archive.read(path)), names, inner)
