"""Records: the rows of one domain with everything that is known of them, and which of them are held out."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np


class Records(NamedTuple):
    """All rows of one domain, before they are split."""

    x: Any  # a tensor [N, ...], in memory or mapped from a file, or a mapping of such
    labels: Sequence[str] | None  # the class of each row by name, "" where it is unknown; None: no row has a label
    keys: Sequence[str]  # names a row for good: the path below the folder, or its number; splits depend on it
    content: np.ndarray  # uint64 [N], a hash of what each row holds
    sha256: str  # of all of it
    split: Sequence[str] | None = None  # "train", "val" or "test" for each row, where the data say so
    group: Sequence[str] | None = None  # rows of one group go to the same split
    notices: tuple[str, ...] = ()  # what the user should know, such as rows left out


def split_rows(records: Records, val_fraction: float, test_fraction: float) -> np.ndarray:
    """Return "train", "val" or "test" for every row, objects [N].

    As the records say; where they say nothing of test rows or of validation rows, by the hash of the group or key.
    Without a `val_fraction` the rows for validation train.
    """
    if records.split is None:
        split = np.full(len(records.keys), "train", dtype=object)
    else:
        split = np.array(records.split, dtype=object)
        if unknown := sorted(set(split) - {"train", "val", "test"}):
            raise ValueError(f"the splits are 'train', 'val' and 'test', but there is {unknown[0]!r}")
    u = held_out_order(records.group if records.group is not None else records.keys)
    if records.split is None:
        split[u >= 1 - test_fraction] = "test"
    if not val_fraction:
        split[split == "val"] = "train"
    elif not (split == "val").any():
        split[(u < val_fraction) & (split == "train")] = "val"
    if not (split == "train").any():
        raise ValueError(f"of {len(split)} rows none is left to train on: hold out fewer, or in smaller groups")
    return split


def keep_trained(split: np.ndarray, y: np.ndarray, classes: Sequence[str]) -> list[str]:
    """Let the held-out rows of a class train that has no others, in place; return what to tell the user of it."""
    notices = []
    for c, name in enumerate(classes):
        own = y == c
        held_out = own & (split == "val")
        if held_out.any() and not (own & (split == "train")).any():
            split[held_out] = "train"
            notices.append(f"all {held_out.sum()} rows of class {name!r} train, none is left to validate on")
        if own.sum() == 1:
            notices.append(f"class {name!r} has one row only")
    return notices


def held_out_order(keys: Sequence[str]) -> np.ndarray:
    """Return a number in [0, 1) for every key, float64 [N], that depends on the key only: sha256 of it."""
    known: dict[str, float] = {}
    for key in keys:
        if key not in known:
            known[key] = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") / 2.0**64
    return np.array([known[key] for key in keys], dtype=np.float64)


def content_hashes(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, str]:
    """Return a hash of every row over arrays [N, ...] of equal N, uint64 [N], and the sha256 of all of them."""
    whole = hashlib.sha256()
    rows = np.empty(len(parts[0]), dtype=np.uint64)
    arrays = [np.ascontiguousarray(part) for part in parts]
    for array in arrays:
        whole.update(f"{array.dtype} {array.shape}".encode())
    for i in range(len(rows)):
        row = b"".join(array[i].tobytes() for array in arrays)
        whole.update(row)
        rows[i] = int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "little")
    return rows, whole.hexdigest()


def labelled_sha256(sha256: str, labels: Sequence[str] | None) -> str:
    """Return the sha256 of rows, whose own is given, together with their labels."""
    return sha256 if labels is None else hashlib.sha256("\n".join([sha256, *labels]).encode()).hexdigest()


def file_label(file: str, files: Sequence[str]) -> str:
    """Return what a file is called as a domain: its name without folder and suffix, if no other of `files` has it."""
    stem = PurePath(file).stem
    return stem if [PurePath(other).stem for other in files].count(stem) == 1 else file
