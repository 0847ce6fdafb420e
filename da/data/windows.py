"""Windows of recordings that go on for longer, and which of them are held out."""

from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def window_starts(run: np.ndarray, length: int, stride: int) -> np.ndarray:
    """Return the first samples of all windows [n], given the run of every sample [T]: none straddles two runs.

    The samples of a run stand together, and its windows begin with its first sample. Samples of run -1 are left out,
    and so are those at the end of a run that fill no window.
    """
    starts = [np.empty(0, dtype=np.int64)]
    edges = [0, *(np.flatnonzero(np.diff(run)) + 1).tolist(), len(run)]
    for first, last in pairwise(edges):
        if last > first and run[first] >= 0:
            starts.append(np.arange(first, last - length + 1, stride))
    return np.concatenate(starts)


def cut(samples: np.ndarray, starts: np.ndarray, length: int) -> np.ndarray:
    """Return windows [n, ..., length] of `samples` [T, ...]."""
    if not len(starts):
        return np.empty((0, *samples.shape[1:], length), dtype=samples.dtype)
    return np.ascontiguousarray(sliding_window_view(samples, length, axis=0)[starts])


def split_in_time(run: np.ndarray, val_fraction: float, test_fraction: float, overlap: int) -> np.ndarray:
    """Return "train", "val", "test" or "" for every window, objects [n], given the run of each.

    The last windows of every run are test, those before them val: so all parts have the activities that somebody did
    in one go, which would be lost to the others if whole runs were held out. The first `overlap` windows after a cut
    share samples with those before it and are left out (""); nothing is held out of a run where none would remain.
    """
    part = np.full(len(run), "train", dtype=object)
    for number in np.unique(run):
        own = np.flatnonzero(run == number)
        cuts = [len(own)]
        for name, fraction in (("test", test_fraction), ("val", val_fraction)):
            held = round(fraction * len(own))
            if held > overlap:
                cuts.append(cuts[-1] - held)
                part[own[cuts[-1] : cuts[-2]]] = name
        for first in cuts[1:]:
            part[own[first : first + overlap]] = ""
    return part
