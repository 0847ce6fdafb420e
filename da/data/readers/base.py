"""What a reader of files is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from da.data.files import Files
from da.data.rows import Transform

OnBad = Literal["error", "skip"]
"""What becomes of files that can't be read."""

SHOWN = 5  # of them, in a message


class Read(NamedTuple):
    """What came of reading files."""

    x: Any  # a tensor [n, ...] of the files that could be read, or a mapping of such
    good: list[int]  # their numbers among those that were to be read
    bad: dict[str, str]  # what is wrong with each of the others, by file


class Reader(ABC):
    """Turns files of one modality into tensors once, and batches of these into what the network reads."""

    suffixes: tuple[str, ...]
    """Of the files it reads, in lower case and with the dot."""
    version: int = 1
    """Of how files become tensors: with another one, what was kept of them is made again."""
    train_transform: Transform | None = None
    eval_transform: Transform | None = None

    @abstractmethod
    def read(self, files: Files, names: Sequence[str]) -> Read:
        """Read the files of these names; what can't be read is listed as bad, and nothing is raised for it."""


def read_good(reader: Reader, files: Files, names: Sequence[str], where: str, on_bad: OnBad) -> tuple[Read, list[str]]:
    """Read files, and return what to say about those that can't be.

    Raises ValueError naming these, unless `on_bad` is "skip"; and if no file can be read.
    """
    read = reader.read(files, names)
    shown = ", ".join(f"{name} ({reason})" for name, reason in list(read.bad.items())[:SHOWN])
    shown += f" and {len(read.bad) - SHOWN} more" if len(read.bad) > SHOWN else ""
    if not read.good:
        raise ValueError(f"{where!r} has no file that can be read ({', '.join(reader.suffixes)}) {shown}".strip())
    if read.bad and on_bad == "error":
        raise ValueError(
            f"{len(read.bad)} of {len(names)} files of {where!r} can't be read: {shown}. Mend or remove them, or "
            "leave them out: data.on_bad=skip"
        )
    return read, [f"{len(read.bad)} of {len(names)} files left out: {shown}"] if read.bad else []
