"""What data sets of windows share: fixed channels, scaling by the source, parts that share no samples."""

from abc import ABC
from collections.abc import Sequence
from itertools import combinations
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch

from da.data.arrays import read_arrays
from da.data.records import Records, content_hashes, labelled_sha256
from da.data.rows import Rows
from da.data.scaling import ScaledData, find_gaps
from da.data.shipped import ShippedData
from da.data.windows import cut, split_in_time, window_starts

GAP = 1.0  # seconds without a sample that end a run


class Windows(NamedTuple):
    """All windows of one domain."""

    x: np.ndarray  # float32 [n, channels, length]
    labels: Sequence[str]
    run: Sequence[object]  # the recording that each is cut from
    split: Sequence[str] | None = None  # as in `Records`; None: `WindowData.hold_out`


class Samples(NamedTuple):
    """What was recorded in one domain, in order of time within each run."""

    values: np.ndarray  # float32 [T, channels]
    labels: np.ndarray  # [T], "" where there is none
    run: np.ndarray  # [T], another number wherever something else begins
    seconds: np.ndarray  # float64 [T], since any time


class WindowData(ShippedData, ScaledData, ABC):
    """Data sets of windows [n, channels, length] of the channels `feature_names`.

    Args:
        num_channels: a fact for the network's configuration: how many `feature_names` there are.
        length: samples in a window; a fact too.
        settings: of `ShippedData` and `ScaledData`.

    Raises ValueError for another number of channels, and for domains that have rows in common.
    """

    def __init__(self, num_channels: int | None, length: int, **settings: Any) -> None:
        super().__init__(**settings)
        if num_channels not in (None, len(self.feature_names)):
            raise ValueError(f"data.num_channels={num_channels}, but the channels are {', '.join(self.feature_names)}")
        if length < 1:
            raise ValueError(f"data.length={length} must be at least 1")
        self.length = length
        for a, b in combinations((*self.sources, self.target), 2):
            if self.cells(a) & self.cells(b):
                raise ValueError(f"data.source and data.target name {a!r} and {b!r}, which have rows in common")

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "num_channels": len(self.feature_names), "length": self.length}

    def cells(self, name: str) -> set[str]:
        """Return the parts that a domain is made of; a data set whose domains may contain each other overrides this."""
        return {name}

    def records_of(self, name: str, windows: Windows, notices: Sequence[str] = ()) -> Records:
        """Return the records of a domain; a class that it lacks is a notice. ValueError if it has no window."""
        if not len(windows.x):
            raise ValueError(f"{name}: there is no window of {self.length} samples")
        absent = [label for label in self.known_classes if label not in set(windows.labels)]
        place: dict[object, int] = {}
        keys = []
        for run in windows.run:
            place[run] = place.get(run, -1) + 1
            keys.append(f"{run}/{place[run]}")
        content, digest = content_hashes([windows.x])
        return Records(
            x=torch.from_numpy(windows.x),
            labels=list(windows.labels),
            keys=keys,
            content=content,
            sha256=labelled_sha256(digest, windows.labels),
            split=windows.split,
            group=[str(run) for run in windows.run],
            notices=(*notices, *[f"no window of {', '.join(absent)}"] * bool(absent)),
        )

    def hold_out(self, name: str, windows: Windows, overlap: int, notices: Sequence[str] = ()) -> Records:
        """Return the records of a domain, the last windows of every run being val and test rows.

        `overlap` is the number of windows that a window shares samples with, of those after it.
        """
        val_fraction = self.val_fraction if name in self.sources else 0.0
        part = split_in_time(np.array(windows.run), val_fraction, self.test_fraction, overlap)
        kept = np.flatnonzero(part != "")
        if len(kept) < len(part):
            notices = (*notices, f"{len(part) - len(kept)} windows left out that two parts would share samples of")
        labels, run, split = (np.array(column, dtype=object)[kept] for column in (windows.labels, windows.run, part))
        return self.records_of(name, Windows(windows.x[kept], labels.tolist(), run.tolist(), split.tolist()), notices)

    def cut_out(self, name: str, samples: Samples, stride: int, notices: Sequence[str] = ()) -> Records:
        """Return the records of a domain, cut from its samples: no window straddles two runs, labels or a `GAP`."""
        step = np.diff(samples.seconds, prepend=samples.seconds[:1])
        begins = (samples.run != np.roll(samples.run, 1)) | (samples.labels != np.roll(samples.labels, 1))
        run = np.cumsum(begins | (step < 0) | (step > GAP))
        starts = window_starts(np.where(samples.labels == "", -1, run), self.length, stride)
        if len(starts):
            seconds = samples.seconds[starts + self.length - 1] - samples.seconds[starts]
            notices = (
                *notices,
                f"{len(starts)} windows of {self.length} samples, {np.median(seconds):.2f} s as a rule",
            )
        windows = Windows(
            cut(samples.values, starts, self.length), samples.labels[starts].tolist(), run[starts].tolist()
        )
        return self.hold_out(name, windows, ceil(self.length / stride) - 1, notices)

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        """Read windows [n, channels, length] from the array x of a file: .npz, .safetensors or .parquet."""
        arrays = read_arrays(where)
        shape = (len(self.feature_names), self.length)
        if arrays.x.shape[1:] != shape:
            raise ValueError(f"{where}: x is {list(arrays.x.shape)}, expected [n, {shape[0]}, {shape[1]}]")
        kept, notices = find_gaps(arrays.x, self.on_nan, where, self.feature_names)
        self.notices += [f"{where}: {notice}" for notice in notices]
        arrays = arrays if kept is None else arrays.keep(kept)
        return self.unlabelled(arrays.x, len(arrays.x)), arrays.keys
