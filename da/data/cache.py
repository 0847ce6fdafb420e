"""Tensors that are made once and kept on disk, checked and mapped into memory."""

import errno
import json
import mmap
import os
import shutil
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from da.data.store import FOLDER_VARIABLE, GB, Entry, entry, room_for, write_json

FORMAT = 1
CHECKED_WHOLE = 2**30  # bytes
CHUNK = 2**24  # bytes read at a time
TOLD = 10**8  # bytes; making more than this takes long enough to be announced

# Without a reserve: Linux refuses a private mapping that is larger than its memory. Python 3.13 has the constant.
NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)

_mapped: "WeakValueDictionary[Path, mmap.mmap]" = WeakValueDictionary()  # data files that a tensor lives on
_checked: set[tuple[Path, int, int]] = set()  # path, size and time of change of data files that were found sound


def cached_tensor(
    kind: str, key: str, shape: tuple[int, ...], dtype: torch.dtype, fill: Callable[[Tensor], None]
) -> Tensor:
    """Return the tensor kept on disk under (kind, key), made by `fill` if it is not there.

    The key says all that the content depends on. `fill(out)` writes every element of `out`, zeros at first, which lies
    in a file: what it raises leaves nothing behind. The tensor returned is mapped from the file and reads only the
    pages that are looked at; writing to it changes a copy, not the file. Of several processes that ask for the same
    entry one makes it, and the others wait.

    A file is trusted if its header, written last, says that it is complete, and if its size and checksum (crc32: for
    accidents, not for enemies) are those of the header; else it is made again, with a notice. The checksum is computed
    once a process, and for files above 1 GiB only if their time of change is another than the header's.

    Raises:
        ValueError: the cache's bound (DA_CACHE_GB) leaves no room.
        OSError: the disk is full, or the cache's folder (DA_CACHE) can't be written.
    """
    size = prod(shape) * dtype.itemsize
    if not size:
        return torch.empty(shape, dtype=dtype)  # there are no empty mappings
    header = {"format": FORMAT, "kind": kind, "key": key, "dtype": str(dtype), "shape": list(shape), "size": size}
    place = entry(kind, key)
    with place.lock():
        place.part.unlink(missing_ok=True)  # of a process that died
        if fault := _fault(place, header):
            if place.header.exists():
                print(f"cache: {place.data.name} {fault}; it is made again", file=sys.stderr, flush=True)
            _make(place, header, lambda content: fill(content.view(dtype).view(shape)))
        place.used_now()
        with place.data.open("rb") as file:
            content = _map_copy(file.fileno())
    _mapped[place.data] = content
    return torch.frombuffer(content, dtype=torch.uint8).view(dtype).view(shape)


def _make(place: Entry, header: dict[str, Any], fill: Callable[[Tensor], None]) -> None:
    """Write the content beside its place, move it there, then write the header."""
    place.header.unlink(missing_ok=True)  # no old header beside new content
    place.data.unlink(missing_ok=True)
    if header["size"] > TOLD:
        print(f"cache: making {header['size'] / GB:.1f} GB of {header['kind']}", file=sys.stderr, flush=True)
    try:
        with room_for(place, header["size"], _mapped):
            _allocate(place.part, header["size"])
        with place.part.open("r+b") as file:
            content = mmap.mmap(file.fileno(), 0)
            fill(torch.frombuffer(content, dtype=torch.uint8))
            content.flush()
            os.fsync(file.fileno())
        checksum = _crc32(place.part)
        place.part.replace(place.data)
        write_json(place, {**header, "crc32": checksum, "mtime_ns": place.data.stat().st_mtime_ns})
    finally:
        place.part.unlink(missing_ok=True)
    _checked.add(_identity(place.data))


def _fault(place: Entry, header: dict[str, Any]) -> str | None:
    """What keeps the entry from being used; None if it is sound."""
    try:
        found = json.loads(place.header.read_text(encoding="utf-8"))
        if {key: found.get(key) for key in header} != header:
            return "has the header of something else"
        size = place.data.stat().st_size
        if size != header["size"]:
            return f"is cut short: {size} of {header['size']} bytes"
        identity = _identity(place.data)
        unchanged = identity[-1] == found["mtime_ns"]
        if identity in _checked or (unchanged and size > CHECKED_WHOLE):
            return None
        if _crc32(place.data) != found["crc32"]:
            return "was altered: its checksum is wrong"
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return f"can't be read ({error})"
    with suppress(OSError):
        os.utime(place.data, ns=(found["mtime_ns"], found["mtime_ns"]))  # a copy need not be read whole again
    _checked.add(_identity(place.data))
    return None


def _map_copy(file: int) -> mmap.mmap:
    """A mapping that can be written to without changing the file."""
    if sys.platform == "linux":
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        return mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE | NO_RESERVE, prot=protection)
    return mmap.mmap(file, 0, access=mmap.ACCESS_COPY)


def _identity(path: Path) -> tuple[Path, int, int]:
    stat = path.stat()
    return path, stat.st_size, stat.st_mtime_ns


def _allocate(path: Path, size: int) -> None:
    """Make a file of zeros whose blocks are there: a mapping that found the disk full would end the process."""
    try:
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, "No space left on device")
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for start in range(0, size, CHUNK):
                    file.write(bytes(min(CHUNK, size - start)))
    except OSError as error:
        raise OSError(
            f"{size / GB:.2f} GB are needed in the cache folder {path.parent}, but {error.strerror or error}: free "
            f"some (da cache clear), or set the environment variable {FOLDER_VARIABLE} to another folder"
        ) from error


def _crc32(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
