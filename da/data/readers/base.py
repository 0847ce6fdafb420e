"""What a reader of files is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from da.data.files import Files
from da.data.rows import Transform


class Read(NamedTuple):
    """What came of reading files."""

    x: Any  # a tensor [n, ...] of the files that could be read, or a mapping of such
    good: list[int]  # their numbers among those that were to be read
    bad: dict[str, str]  # what is wrong with each of the others, by file


class Reader(ABC):
    """Turns files of one modality into tensors once, and batches of these into what the network reads."""

    suffixes: tuple[str, ...]
    """Of the files it reads, in lower case and with the dot."""
    train_transform: Transform | None = None
    eval_transform: Transform | None = None

    @abstractmethod
    def read(self, files: Files, names: Sequence[str]) -> Read:
        """Read the files of these names; what can't be read is listed as bad, and nothing is raised for it."""
