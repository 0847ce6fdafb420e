"""Where the files of the shipped data sets lie, how they are checked, and how they are downloaded."""

import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ROOT_VARIABLE = "DA_DATA_ROOT"
CACHE = Path("~/.cache/lambda-da")
PROBE_SECONDS = 8.0
SOCKET_SECONDS = 30.0

T = TypeVar("T")


def data_root(root: str | None) -> Path | None:
    """Return the folder of the data: `root`, else what the environment variable DA_DATA_ROOT names, else None."""
    folder = root or os.environ.get(ROOT_VARIABLE)
    return Path(folder).expanduser() if folder else None


def how_to_set_root(root: str | None) -> str:
    """Return the sentence that ends the message about a missing file."""
    return (
        f"Set the environment variable {ROOT_VARIABLE} (now {os.environ.get(ROOT_VARIABLE)!r}) or data.root "
        f"(now {root!r}) to a folder that has them"
    )


def sha256(file: Path) -> str:
    """Return the sha256 of a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def checked_sha256(file: Path, expected: str | None, otherwise: str = "") -> str:
    """Return the sha256 of a file; ValueError if it is not the `expected` one. None: any will do.

    `otherwise` is what else than copying the file again may help, for the message.
    """
    found = sha256(file)
    if expected is not None and found != expected:
        raise ValueError(
            f"{file} is not the file it should be: its sha256 is {found}, expected {expected}. Copy it again{otherwise}"
        )
    return found


def open_or_download(open_: Callable[[bool], T], url: str) -> T:
    """Return `open_(False)`, or if its files are missing and the web site of `url` answers, `open_(True)`.

    The argument says whether to download. Raises OSError, RuntimeError or EOFError as `open_` does, and
    ConnectionError if nothing answers in `PROBE_SECONDS`.
    """
    with _patience(SOCKET_SECONDS):
        try:
            return open_(False)
        except (OSError, RuntimeError, EOFError):
            _probe(url)
            return open_(True)


def read_torchvision(name: str, read: Callable[[Path, bool], T], url: str, root: str | None, also: str = "") -> T:
    """Return what `read(folder, download)` gives for the folder of torchvision's files, downloaded if need be.

    Raises FileNotFoundError naming the images, where they were looked for (`also`: and before) and what to do.
    """
    folder = (data_root(root) or CACHE.expanduser()) / "torchvision"
    try:
        return open_or_download(lambda download: read(folder, download), url)
    except (OSError, RuntimeError, EOFError) as error:
        raise FileNotFoundError(
            f"no images of {name!r}: looked for {also}torchvision's files in {folder}, and a download from {url} "
            f"({error}). {how_to_set_root(root)}, or run once with a network"
        ) from error


def _probe(url: str) -> None:
    """Raise ConnectionError unless the web site answers within `PROBE_SECONDS`, name resolution included."""
    failure: list[OSError] = []

    def ask() -> None:
        try:
            urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
        except HTTPError:  # a refusal is an answer
            pass
        except OSError as error:
            failure.append(error)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if failure or thread.is_alive():
        raise ConnectionError(failure[0] if failure else f"no answer in {PROBE_SECONDS:g} seconds")


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Let no socket wait longer than this: torchvision sets no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
