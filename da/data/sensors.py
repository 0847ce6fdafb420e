"""sp_sw_har: what a smartphone and a smartwatch saw of the same people."""

import re
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import polars as pl

from da.data.download import checked_sha256
from da.data.files import Files
from da.data.records import Records
from da.data.shipped import Origin, locate
from da.data.window_data import WindowData, Windows
from da.data.windows import cut, window_starts

SHA256 = "a6e45fee766c1522fb19356d15ceb7627f513fb5eff8b9f05861fae3f92affdf"
COMMIT = "1408d85a512a53861de7bc4729dee283fff2ea9d"
ORIGIN = Origin(
    (*("timeseries/sp_sw_har.npz", "timeseries/sp-sw-har-dataset"), "timeseries/sp-sw-har-dataset.zip"),
    "https://github.com/GeoTecINIT/sp-sw-har-dataset (doi 10.5281/zenodo.8398688) as a zip archive, and put it into "
    "<root>/timeseries as sp-sw-har-dataset.zip",
    f"https://github.com/GeoTecINIT/sp-sw-har-dataset/archive/{COMMIT}.zip",  # CC BY 4.0
)

RATE, LENGTH, STRIDE = 50, 64, 16  # Hz, samples, samples
COVERED = 48  # samples of a window that one activity takes up at least, or the window is left out
TEST = 0.3  # of a subject's runs, the last ones
RECORDING = re.compile(r"s(\d\d)_(\d\d)_(sp|sw)\.csv$")


class Recorded(NamedTuple):
    """The windows of all domains."""

    x: np.ndarray  # float32 [n, 6, 64]
    y: np.ndarray  # place among `SpSwHar.known_classes`
    device: np.ndarray  # place among `SpSwHar.devices`
    subject: np.ndarray
    execution: np.ndarray  # numbers a subject's runs
    is_test: np.ndarray


@final
class SpSwHar(WindowData):
    """Activities seen by a phone and by a watch (Matey-Sanz, Casteleyn & Granell, 2023); x float32 [n, 6, 64].

    A domain is a device, "smartphone" or "smartwatch", or what one of the 23 subjects wore: "smartwatch/5". A window is
    1.28 s at 50 Hz, and the next one begins 0.32 s later; so whole runs are held out: the last 30 % of each subject's
    are test rows. Of the windows 61 % are walking.

    They are read from `<root>/timeseries/sp_sw_har.npz`, checked against its sha256, or made in the same way of the
    published recordings: resampled to 50 Hz, and left out where no activity takes up three quarters of the window.
    """

    devices = ("smartphone", "smartwatch")
    known_names = (*devices, *(f"{device}/{subject}" for device in devices for subject in range(1, 24)))
    known_classes = ("seated", "standing_up", "walking", "turning", "sitting_down")
    feature_names = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")

    def __init__(self, num_channels: int | None = None, length: int = LENGTH, **settings: Any) -> None:
        super().__init__(num_channels, length, **settings)
        if length != LENGTH:
            raise ValueError(f"data.length={length}, but the windows have {LENGTH} samples")

    def cells(self, name: str) -> set[str]:
        return {known for known in self.known_names if known == name or known.startswith(f"{name}/")}

    def read_records(self, name: str) -> Records:
        all_ = self._recorded
        device, _, subject = name.partition("/")
        own = (all_.device == self.devices.index(device)) & (not subject or all_.subject == int(subject or 0))
        runs = zip(all_.subject[own].tolist(), all_.execution[own].tolist(), strict=True)
        return self.records_of(
            name,
            Windows(
                x=all_.x[own],
                labels=[self.known_classes[c] for c in all_.y[own]],
                run=[f"{subject}/{execution}" for subject, execution in runs],  # the same one on both devices
                split=np.where(all_.is_test[own], "test", "train").tolist(),
            ),
        )

    @cached_property
    def _recorded(self) -> Recorded:
        where = locate(ORIGIN, self.root)
        return _read_npz(where) if where.suffix == ".npz" else _read_recordings(Files(where))


def _read_npz(file: Path) -> Recorded:
    checked_sha256(file, SHA256, otherwise=f", or remove it and get {ORIGIN.fetch}")
    with np.load(file, allow_pickle=False) as arrays:
        return Recorded(*(arrays[name] for name in Recorded._fields))


def _read_recordings(files: Files) -> Recorded:
    """Make the windows of files sNN_RR_{sp|sw}.csv: subject, run, device."""
    found = sorted((match.groups(), name) for name in files.names if (match := RECORDING.search(name)))
    if not found:
        raise ValueError(f"{files.where} has no files DATA/s01/s01_01_sp.csv, ...: get {ORIGIN.fetch}")
    runs = {who[0]: sorted({run for (subject, run, _), _ in found if subject == who[0]}) for who, _ in found}
    parts = []
    for (subject, run, device), name in found:
        x, y = _windows(files.read(name), f"{files.where}: {name}")
        numbers = (("sp", "sw").index(device), int(subject), int(run))
        is_test = run in runs[subject][-max(1, round(TEST * len(runs[subject]))) :]
        parts.append((x, y, *(np.full(len(y), value) for value in (*numbers, is_test))))
    return Recorded(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _windows(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of a recording: columns x_acc to z_gyro, timestamp in ms, label."""
    try:
        table = pl.read_csv(BytesIO(content)).unique("timestamp", keep="first", maintain_order=True)
        known = [label.upper() for label in SpSwHar.known_classes]
        activity = np.array([known.index(label) for label in table["label"]])
        seconds = (table["timestamp"].to_numpy() - table["timestamp"][0]) / 1000
        samples = table.select(f"{axis}_{sensor}" for sensor in ("acc", "gyro") for axis in "xyz").to_numpy()
    except (pl.exceptions.PolarsError, ValueError, IndexError) as error:
        raise ValueError(f"{name} is no recording of sp_sw_har: {error}") from error
    time = np.arange(0, seconds[-1], 1 / RATE)
    resampled = np.stack([np.interp(time, seconds, column) for column in samples.T], axis=1).astype(np.float32)
    starts = window_starts(np.zeros(len(time), dtype=np.int64), LENGTH, STRIDE)
    labels = np.eye(len(known), dtype=np.int64)[activity[np.searchsorted(seconds, time)]]  # of the next sample
    counts = cut(labels, starts, LENGTH).sum(axis=2)
    clear = counts.max(axis=1) >= COVERED
    return cut(resampled, starts[clear], LENGTH), counts[clear].argmax(axis=1)
