"""The folder of cached files: its entries, its bound, and what is left in it by processes that died.

An entry is `<kind>-<sha256 of its key>` with a suffix: `.bin` (content), `.json` (header, or a note), `.lock`, and
`.part` while it is being written. A file of another name is not touched.
"""

import hashlib
import json
import os
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

FOLDER_VARIABLE, LIMIT_VARIABLE = "DA_CACHE", "DA_CACHE_GB"
FOLDER = Path("~/.cache/lambda-da/cache")
LIMIT_GB = 20.0
GB = 1e9
NOTES = "hashes"
"""The kind of entry that is a note in json: the sha256 of files that have not changed since."""

_NAME = re.compile(r"(?P<stem>[a-z_]+-[0-9a-f]{64})\.(bin|json|lock|part)")


class Entry(NamedTuple):
    """The files of one entry."""

    stem: Path

    @property
    def kind(self) -> str:
        return self.stem.name.rpartition("-")[0]

    @property
    def data(self) -> Path:
        return self.stem.with_suffix(".bin")

    @property
    def header(self) -> Path:
        return self.stem.with_suffix(".json")

    @property
    def part(self) -> Path:
        return self.stem.with_suffix(".part")

    def lock(self, timeout: float = -1) -> FileLock:
        """Return the lock of this entry: it is free again when the process that held it is dead."""
        return FileLock(self.stem.with_suffix(".lock"), timeout=timeout)

    def bytes(self) -> int:
        """Size on disk, without the lock."""
        return sum(_size(path) for path in (self.data, self.header, self.part))

    def last_use(self) -> float:
        """Time of the last use, in seconds since the epoch; 0 for what is not complete."""
        try:
            return self.header.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def used_now(self) -> None:
        """Take note that the entry was used."""
        with suppress(OSError):
            os.utime(self.header)

    def remove(self) -> bool:
        """Remove the files, unless a process holds the lock; whether they are gone."""
        with suppress(Timeout, PermissionError), self.lock(timeout=0):
            for path in (self.header, self.data, self.part, self.stem.with_suffix(".lock")):  # header first: see read
                path.unlink(missing_ok=True)
            return True
        return False


def cache_folder() -> Path:
    """Return the folder of the cache, made if it is not there: DA_CACHE, else `FOLDER`.

    Raises OSError where nothing can be written.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE) or FOLDER).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
        reason = "it can't be written to"
    except OSError as error:
        reason = str(error)
    raise OSError(f"no cache in {folder}: {reason}. Set the environment variable {FOLDER_VARIABLE} to another folder")


def cache_limit() -> float:
    """Return the bytes that the cache may take on disk: DA_CACHE_GB, else `LIMIT_GB`."""
    text = os.environ.get(LIMIT_VARIABLE) or str(LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise ValueError(f"{LIMIT_VARIABLE}={text!r}: it must be a number of gigabytes, such as {LIMIT_GB:g}")
    return limit * GB


def entry(kind: str, key: str) -> Entry:
    """Return the entry of this kind and key, whether it is there or not."""
    found = Entry(cache_folder() / f"{kind}-{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()}")
    assert _NAME.fullmatch(found.data.name), f"a kind is of lower-case letters, got {kind!r}"
    return found


def entries() -> list[Entry]:
    """Return all entries, the least recently used one first."""
    folder = cache_folder()
    stems = {match["stem"] for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    return sorted((Entry(folder / stem) for stem in stems), key=lambda found: (found.last_use(), found.stem))


@contextmanager
def room_for(new: Entry, size: int, in_use: Container[Path]) -> Iterator[None]:
    """Make room for an entry of `size` bytes, to be allocated inside the context, where no other process does.

    Entries go that were not used for longest, and what dead processes left. Those stay whose data file is `in_use`,
    and those that another process is opening or writing. Raises ValueError if that is not enough.
    """
    limit = cache_limit()
    with FileLock(new.stem.parent / "room.lock"):
        others = [other for other in entries() if other != new]
        for other in others:
            if other.part.exists():
                _remove_dead_part(other)
        used = sum(other.bytes() for other in others)
        for other in others:
            if used + size <= limit:
                break
            freed = other.bytes()
            if freed and other.kind != NOTES and other.data not in in_use and other.remove():
                used -= freed
        if used + size > limit:
            raise ValueError(
                f"the cache may take {limit / GB:g} GB: {used / GB:.2f} GB are in use, {size / GB:.2f} GB are needed. "
                f"Set the environment variable {LIMIT_VARIABLE} to a larger number"
            )
        yield


def clear(kind: str | None = None) -> tuple[int, int, int]:
    """Remove all entries, or those of one kind; return how many, their bytes, and how many stay: they are in use."""
    chosen = [found for found in entries() if kind in (None, found.kind)]
    sizes = {found: found.bytes() for found in chosen}
    removed = [found for found in chosen if found.remove()]
    counted = [found for found in removed if sizes[found]]  # a lock alone is no entry
    return len(counted), sum(sizes[found] for found in counted), len(chosen) - len(removed)


def read_note(key: str) -> dict[str, Any]:
    """Return what was noted under this key, nothing if that can't be read."""
    try:
        note = json.loads(entry(NOTES, key).header.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note["note"] if isinstance(note, dict) and note.get("key") == key else {}


def write_note(key: str, note: dict[str, Any]) -> None:
    """Note something under this key, instead of what was noted there."""
    place = entry(NOTES, key)
    with place.lock():
        write_json(place, {"key": key, "note": note})


def write_json(place: Entry, content: dict[str, Any]) -> None:
    """Write the header at once: it is the old one or the new one, whenever it is read. Under the entry's lock."""
    place.part.write_text(json.dumps(content), encoding="utf-8")
    place.part.replace(place.header)


def _remove_dead_part(other: Entry) -> None:
    with suppress(Timeout), other.lock(timeout=0):
        other.part.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
