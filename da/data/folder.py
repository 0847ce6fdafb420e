"""Files of any kind in class folders: a user's own, or a shipped data set by its yaml alone."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from da.data.classes import listed
from da.data.layout import Layout, folders_layout, lists_layout, new_files
from da.data.places import Places, own_files
from da.data.readers.base import OnBad, read_good
from da.data.readers.choose import make_reader
from da.data.record_data import RecordData
from da.data.records import Records
from da.data.rows import Rows, TensorRows
from da.types import HIDDEN


class Folder(RecordData):
    """Domains that are folders, or .zip archives, of image, sound or text files.

    The class of a file is the first folder on its path below the domain's, and files that lie in none have no class:
    so a target may be flat. Labels of the target are only scored with. Where the folders below the domain's are
    `train`, `val` and `test`, they tell the parts of the data, and the class folders lie below them. What reads the
    files is chosen by the network (`da.data.readers.choose`).

    Args:
        source, target: paths of folders, as they are or below `root`; with `places`, names of its domains.
        input: facts about x that the network reads, `${net.input}`.
        root: folder of the data; None: the environment variable DA_DATA_ROOT.
        on_bad: "error": a file that can't be read is an error; "skip": it is left out, and that is said.
        resize: height and width of the stored images, if it is images (`ImageReader`).
        augment: what becomes of an image in training, likewise.
        places, domains, fetch, sha256: of a shipped data set, see `Places`.
        lists: by domain, a text file below its place with a path and a class number a line, or several by the part of
            the data that they name (`{train: FILE, test: FILE}`); numbers are places in `classes`.
        settings: of `RecordData`.

    Raises:
        ValueError: files that can't be read, empty class folders, options that don't fit.
        FileNotFoundError: there are no files; says what to fetch.
    """

    def __init__(
        self,
        source: str | Sequence[str],
        target: str,
        input: Mapping[str, Any],
        root: str | None = None,
        on_bad: OnBad = "error",
        resize: int | None = None,
        augment: str | None = None,
        places: Sequence[str] | None = None,
        domains: Mapping[str, str] | None = None,
        lists: Mapping[str, str | Mapping[str, str]] | None = None,
        fetch: str = "",
        sha256: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(source, target, **settings)
        if on_bad not in ("error", "skip"):
            raise ValueError(f"data.on_bad={on_bad!r}, but it is 'error' or 'skip'")
        for_images = {k: v for k, v in {"resize": resize, "augment": augment}.items() if v is not None}
        if for_images and "size" not in input:
            raise ValueError(f"data.{min(for_images)} is for images, but the network reads net.input={dict(input)}")
        if places is None and (domains or lists or sha256):
            raise ValueError("data.domains, lists and sha256 say what is in data.places, but that is null")
        self.root, self.on_bad, self.lists = root, on_bad, dict(lists or {})
        self.places = Places(places, domains, fetch, dict(sha256 or {}), root) if places is not None else None
        if self.places is not None:
            self.places.check((*self.sources, target))
        self.reader = make_reader(input, **for_images)
        self.train_transform, self.eval_transform = self.reader.train_transform, self.reader.eval_transform
        self._reading = type(self.reader).__name__, self.reader.version, sorted(input.items()), resize
        self._layouts: dict[str, Layout] = {}

    def short_name(self, name: str) -> str:
        """Return the end of the path that no other domain has."""
        if self.places is not None:
            return name
        paths = {own: _parts(own) for own in (*self.sources, self.target, name)}
        longest = max(map(len, paths.values()))
        for k in range(1, longest + 1):
            if sum(parts[-k:] == paths[name][-k:] for parts in paths.values()) == 1:
                return "/".join(paths[name][-k:])
        return name

    def labels(self, name: str) -> set[str] | None:
        """Return the classes that a domain's folders or lists name; no file is read."""
        return {item.label for item in self.layout(name).items} - {""} or None

    def layout(self, name: str) -> Layout:
        """Return the files of a domain, searched for at the first call."""
        if name not in self._layouts:
            self._layouts[name] = self._layout(name)
        return self._layouts[name]

    def _layout(self, name: str) -> Layout:
        if self.places is None:
            return folders_layout(own_files(name, self.root), self.reader.suffixes, name)
        files, place = self.places.find(name)
        if name not in self.lists:
            return folders_layout(files, self.reader.suffixes, name)
        lists = self.lists[name]
        by_part = {"": lists} if isinstance(lists, str) else lists
        return lists_layout(files, place, by_part, self.places.inside(name), self.given_classes)

    def read_records(self, name: str) -> Records:
        files, items, notices = self.layout(name)
        read, said = read_good(self.reader, files, [item.name for item in items], name, self.on_bad)
        good = [items[i] for i in read.good]
        if lost := {item.label for item in items} - {item.label for item in good} - {""}:
            raise ValueError(f"no file of {name!r} can be read that is of the class {listed(lost)}")
        hashes = files.sha256([item.name for item in good])
        content = np.array([int(found[:16], 16) for found in hashes], dtype=np.uint64)
        whole = hashlib.sha256(repr((self._reading, good, hashes)).encode(errors="surrogateescape"))
        labels = [item.label for item in good]
        return Records(
            x=read.x,
            labels=labels if any(labels) else None,
            keys=[item.name for item in good],
            content=content,
            sha256=whole.hexdigest(),
            split=None if good[0].split is None else [item.split or "" for item in good],
            notices=(*notices, *said),
        )

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        files, names, others = new_files(where, self.reader.suffixes)
        read, said = read_good(self.reader, files, names, where, self.on_bad)
        self.notices += [f"{where}: {notice}" for notice in (*others, *said)]
        y = torch.full((len(read.good),), HIDDEN)
        return TensorRows(read.x, y, len(self.sources), self.eval_transform), [names[i] for i in read.good]


def _parts(name: str) -> tuple[str, ...]:
    path = Path(name).expanduser().absolute()
    return (path.with_suffix("") if path.suffix == ".zip" else path).parts
