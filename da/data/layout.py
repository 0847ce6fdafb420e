"""What paths and lists of files say about them: the class, and the part of the data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from da.data.classes import listed
from da.data.files import Files

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folders at the top that hold the class folders of a part of the data."""


class Item(NamedTuple):
    """One file of a domain."""

    name: str  # path below the domain's folder
    label: str  # name of the class, "" where it is unknown
    split: str | None  # "train", "val" or "test", where the data say so


class Layout(NamedTuple):
    """The files of one domain that are to be read."""

    files: Files
    items: list[Item]
    notices: tuple[str, ...] = ()


def folders_layout(files: Files, suffixes: Sequence[str], domain: str) -> Layout:
    """Return the files with these suffixes; the class of each is the first folder on its path.

    A file in no folder has no class. Where there is a folder `train`, and no others than those of `SPLITS`, they tell
    the parts and the classes lie below. Raises ValueError for a class folder without such a file, and if there is none.
    """
    names, others = of_kind(files.names, suffixes)
    tops = {path.parts[0] if len(path.parts) > 1 else "" for path in map(PurePosixPath, names)}
    depth = int("train" in tops and tops <= SPLITS.keys())  # of the class folders
    items = []
    for name in names:
        parts = PurePosixPath(name).parts
        label = parts[depth] if len(parts) > depth + 1 else ""
        items.append(Item(name, label, SPLITS[parts[0]] if depth else None))
    if not items:
        raise ValueError(f"{domain!r} has no file to read ({', '.join(suffixes)}) in {files.where}{_said(others)}")
    folders = {parts[depth] for folder in files.folders if len(parts := PurePosixPath(folder).parts) > depth}
    if empty := folders - {item.label for item in items} - (SPLITS.keys() if not depth else set()):
        raise ValueError(
            f"of the class folders of {domain!r} these have no file to read ({', '.join(suffixes)}): {listed(empty)}. "
            "Fill them or remove them"
        )
    return Layout(files, items, (f"files of other kinds left out{_said(others)}",) if others else ())


def lists_layout(
    files: Files, place: Files, lists: Mapping[str, str], inside: str, classes: Sequence[str] | None
) -> Layout:
    """Return the files of lists, texts of a path and a class number a line, by the part of the data that each names.

    Paths are relative to the domain's folder or to its place, the folder above it. The classes are named by their
    number in `classes`, or are numbers if that is None. "" instead of a part: the list does not tell.

    Raises ValueError for a line that says something else, or a number that no class has, and FileNotFoundError if there
    is no such list.
    """
    items = []
    for split, text in lists.items():
        for number, line in enumerate(place.read(text).decode().splitlines(), start=1):
            if not line.strip():
                continue
            name, _, label = line.strip().rpartition(" ")
            if not name or not label.isdigit():
                raise ValueError(f"line {number} of {text} is {line!r}, expected a path and a class number")
            if classes is not None and int(label) >= len(classes):
                raise ValueError(f"line {number} of {text} has class {label}, but there are {len(classes)} classes")
            path = PurePosixPath(name.strip())
            path = path.relative_to(inside) if path.is_relative_to(inside) else path
            items.append(Item(str(path), label if classes is None else classes[int(label)], split or None))
    return Layout(files, items)


def new_files(where: str, suffixes: Sequence[str]) -> tuple[Files, list[str], list[str]]:
    """Return the files at `where`, the names of those with these suffixes, and what to say about the others.

    `where` is one file with such a suffix, or a folder or .zip archive.
    """
    path = Path(where).expanduser()
    one = path.is_file() and path.suffix.lower() in suffixes
    files = Files(path.parent, names=[path.name]) if one else Files(path)
    names, others = of_kind(files.names, suffixes)
    return files, names, [f"files of other kinds left out{_said(others)}"] if others else []


def of_kind(names: Sequence[str], suffixes: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """Return the names that end in one of the suffixes, and how many end in others, by suffix."""
    chosen, others = [], Counter[str]()
    for name in names:
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in suffixes:
            chosen.append(name)
        else:
            others[suffix or "no suffix"] += 1
    return chosen, others


def _said(others: Counter[str]) -> str:
    return ": " + ", ".join(f"{n} {suffix}" for suffix, n in others.most_common(5)) if others else ""
