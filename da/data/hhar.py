"""HHAR: six activities of nine people with phones of four models; a person or a model is a domain."""

from io import BytesIO
from pathlib import Path
from typing import Any, final

import numpy as np
import polars as pl

from da.data.archives import read_members
from da.data.records import Records
from da.data.shipped import Origin, locate
from da.data.window_data import Samples, WindowData

ORIGIN = Origin(
    (
        *("timeseries/Activity recognition exp", "timeseries/Activity recognition exp.zip"),
        "timeseries/heterogeneity+activity+recognition.zip",
    ),
    "heterogeneity+activity+recognition.zip from https://archive.ics.uci.edu/dataset/344 and put it, or better the "
    "folder 'Activity recognition exp' within, into <root>/timeseries",
    "https://archive.ics.uci.edu/static/public/344/heterogeneity+activity+recognition.zip",  # CC BY 4.0
)
FILE = "Phones_accelerometer.csv"
SCHEMA = {
    **{"Arrival_Time": pl.Int64, "Creation_Time": pl.Int64, "x": pl.Float64, "y": pl.Float64, "z": pl.Float64},
    **{"User": pl.String, "Model": pl.String, "Device": pl.String, "gt": pl.String},
}
NOTHING = "null"  # what gt says between the activities
MILLISECONDS = 1e3
USERS, MODELS = tuple("abcdefghi"), ("nexus4", "s3", "s3mini", "samsungold")


@final
class Hhar(WindowData):
    """Activities seen by phones of different rates and makers (Stisen et al., 2015); x float32 [n, 3, length].

    A domain is a user, "a" to "i", a model, "nexus4", "s3", "s3mini" or "samsungold", or both, "s3/a". A window is so
    many samples whatever the rate of the phone, and a notice says how long they take; windows are cut where a user does
    one activity with one phone without a gap of a second, and the last ones of every such run are test: see
    `split_in_time`. Users and length are those of Ragab et al. (AdaTime, 2023), who use a Samsung phone and hold out
    windows at random.

    They are read from the folder or the zip archive that UCI gives out, which is downloaded if it is missing; the
    folder is read faster.

    Args:
        stride: samples from the beginning of a window to that of the next.
    """

    known_names = (*USERS, *MODELS, *(f"{model}/{user}" for model in MODELS for user in USERS))
    known_classes = ("bike", "sit", "stand", "walk", "stairsup", "stairsdown")
    feature_names = ("acc_x", "acc_y", "acc_z")

    def __init__(self, num_channels: int | None = None, length: int = 128, stride: int = 64, **settings: Any) -> None:
        super().__init__(num_channels, length, **settings)
        if stride < 1:
            raise ValueError(f"data.stride={stride} must be at least 1")
        self.stride = stride

    def cells(self, name: str) -> set[str]:
        parts = set(name.split("/"))
        models, users = parts & set(MODELS) or MODELS, parts & set(USERS) or USERS
        return {f"{model}/{user}" for model in models for user in users}

    def read_records(self, name: str) -> Records:
        table, notices = self._read(sorted(self.cells(name)))
        samples = Samples(
            table.select("x", "y", "z").to_numpy().astype(np.float32),
            table["gt"].to_numpy(),
            table.select(pl.struct("User", "Device").rle_id()).to_series().to_numpy(),
            table["Arrival_Time"].to_numpy() / MILLISECONDS,
        )
        return self.cut_out(name, samples, self.stride, notices)

    def _read(self, cells: list[str]) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Return the samples of these models and users in order of time, and what was left out of the file."""
        where = locate(ORIGIN, self.root)
        path = next(iter(sorted(where.rglob(FILE))), None) if where.is_dir() else None
        content: Path | BytesIO = path or BytesIO(read_members(where, [FILE], "Activity recognition exp.zip")[FILE])
        lines = pl.scan_csv(content, schema_overrides=SCHEMA, ignore_errors=True, truncate_ragged_lines=True)
        whole = pl.all_horizontal(pl.all().is_not_null(), pl.col("x", "y", "z").is_finite())
        known = pl.all_horizontal(
            pl.col(column).is_in(names)
            for column, names in (("Model", MODELS), ("User", USERS), ("gt", (*self.known_classes, NOTHING)))
        )
        mine = pl.concat_str("Model", "User", separator="/").is_in(cells)
        try:
            chosen = lines.select(*SCHEMA).with_columns(good=whole & known).filter(~pl.col("good") | mine).collect()
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{where}: {FILE} is not as it should be: {error}") from error
        good = chosen.filter("good").sort("User", "Device", "Arrival_Time", "Creation_Time")
        good = good.with_columns(pl.col("gt").replace(NOTHING, ""))
        broken, idle = len(chosen) - len(good), int((good["gt"] == "").sum())
        return good, (
            *[f"{broken} lines of {FILE} are broken and left out"] * (broken > 0),
            *[f"{idle} of {len(good)} samples are of no activity and left out"] * (idle > 0),
        )
