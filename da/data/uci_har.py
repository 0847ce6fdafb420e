"""UCI HAR: the same six activities of 30 people, each of them a domain."""

import warnings
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np

from da.data.archives import read_members
from da.data.records import Records
from da.data.shipped import Origin, locate
from da.data.window_data import WindowData, Windows

ORIGIN = Origin(
    (
        *("timeseries/UCI HAR Dataset", "timeseries/UCI HAR Dataset.zip"),
        "timeseries/human+activity+recognition+using+smartphones.zip",
    ),
    "human+activity+recognition+using+smartphones.zip from https://archive.ics.uci.edu/dataset/240 and put it, or the "
    "folder 'UCI HAR Dataset' within, into <root>/timeseries",
    "https://archive.ics.uci.edu/static/public/240/human+activity+recognition+using+smartphones.zip",  # CC BY 4.0
)
LENGTH = 128
OVERLAP = 1  # windows begin every 64 samples: each shares samples with the one before it
SIGNALS = tuple(f"{signal}_{axis}" for signal in ("body_acc", "body_gyro", "total_acc") for axis in "xyz")


class Published(NamedTuple):
    """The windows of both parts of the archive, which are of different subjects."""

    x: np.ndarray  # float32 [n, 9, 128]
    y: np.ndarray
    subject: np.ndarray
    run: np.ndarray  # windows that follow each other, of one subject and activity


@final
class UciHar(WindowData):
    """Activities seen by a phone at the waist (Anguita et al., 2013); x float32 [n, 9, 128] at 50 Hz.

    A domain is a subject, "1" to "30". The archive's windows overlap by half, so the last ones of every run are test:
    see `split_in_time`. Ragab et al. (AdaTime, 2023), whose subjects and signals these are, hold out windows at random.

    They are read from the folder or the zip archive that UCI gives out, which is downloaded if it is missing.

    Raises ValueError for an archive that is not what it should be.
    """

    known_names = tuple(map(str, range(1, 31)))
    known_classes = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
    feature_names = SIGNALS

    def __init__(self, num_channels: int | None = None, length: int = LENGTH, **settings: Any) -> None:
        super().__init__(num_channels, length, **settings)
        if length != LENGTH:
            raise ValueError(f"data.length={length}, but the windows have {LENGTH} samples")

    def read_records(self, name: str) -> Records:
        all_ = self._published
        own = all_.subject == int(name)
        labels = [self.known_classes[c - 1] for c in all_.y[own]]
        return self.hold_out(name, Windows(all_.x[own], labels, all_.run[own].tolist()), OVERLAP)

    @cached_property
    def _published(self) -> Published:
        parts = ("train", "test")
        names = [f"{name}_{part}.txt" for name in (*SIGNALS, "y", "subject") for part in parts]
        where = locate(ORIGIN, self.root)
        files = read_members(where, names, inner="UCI HAR Dataset.zip")
        numbers = {name: _numbers(files.pop(name), f"{where}: {name}") for name in names}
        y, subject = (
            np.concatenate([numbers[f"{name}_{part}.txt"] for part in parts]).astype(np.int64)
            for name in ("y", "subject")
        )
        signals = [np.concatenate([numbers[f"{signal}_{part}.txt"] for part in parts]) for signal in SIGNALS]
        if len(y) != len(subject) or {len(signal) for signal in signals} != {len(y) * LENGTH}:
            raise ValueError(f"{where}: the files are not of {len(y)} windows of {LENGTH} samples each")
        if not set(y) <= set(range(1, 7)):
            raise ValueError(f"{where}: the activities are 1 to 6, but y has {sorted(set(y.tolist()))}")
        x = np.stack([signal.reshape(-1, LENGTH) for signal in signals], axis=1).astype(np.float32)
        return Published(x, y, subject, np.cumsum(np.diff(10 * subject + y, prepend=0) != 0))


def _numbers(content: bytes, name: str) -> np.ndarray:
    """Return all numbers of a text, float64 [n]; ValueError for anything else in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # numpy's word for text that is no number
        try:
            return np.fromstring(content.decode("ascii"), sep=" ")
        except (DeprecationWarning, ValueError) as error:
            raise ValueError(f"{name} has something else than numbers in it: {error}") from error
