"""WISDM: six activities of 36 people, each of them a domain."""

from functools import cached_property
from typing import Any, final

import numpy as np
import polars as pl

from da.data.archives import read_members
from da.data.records import Records
from da.data.shipped import Origin, locate
from da.data.window_data import Samples, WindowData

ORIGIN = Origin(
    ("timeseries/WISDM_ar_v1.1", "timeseries/WISDM_ar_latest.tar.gz"),
    "WISDM_ar_latest.tar.gz from https://www.cis.fordham.edu/wisdm/dataset.php and put it, or the folder "
    "WISDM_ar_v1.1 within, into <root>/timeseries",
    "https://www.cis.fordham.edu/wisdm/includes/datasets/latest/WISDM_ar_latest.tar.gz",
)
FILE = "WISDM_ar_v1.1_raw.txt"
NUMBER = r"(-?[0-9.]+(?:[eE]-?[0-9]+)?)"
RECORD = rf"^([0-9]+),([A-Za-z]+),([0-9]+),{NUMBER},{NUMBER},{NUMBER},?$"
NANOSECONDS = 1e9


@final
class Wisdm(WindowData):
    """Activities seen by a phone in the pocket (Kwapisz, Weiss & Moore, 2010); x float32 [n, 3, length] at 20 Hz.

    A domain is a user, "1" to "36". Windows are cut where a user does one activity without a gap of a second, and the
    last ones of every such run are test: see `split_in_time`. Users and length are those of Ragab et al. (AdaTime,
    2023), who hold out windows at random. Records of the file that are broken or have no time are left out, and a
    notice counts them.

    They are read from the folder or the .tar.gz archive that the WISDM lab gives out, downloaded if it is missing.

    Args:
        stride: samples from the beginning of a window to that of the next.
    """

    known_names = tuple(map(str, range(1, 37)))
    known_classes = ("Walking", "Jogging", "Upstairs", "Downstairs", "Sitting", "Standing")
    feature_names = ("acc_x", "acc_y", "acc_z")

    def __init__(self, num_channels: int | None = None, length: int = 128, stride: int = 64, **settings: Any) -> None:
        super().__init__(num_channels, length, **settings)
        if stride < 1:
            raise ValueError(f"data.stride={stride} must be at least 1")
        self.stride = stride

    def read_records(self, name: str) -> Records:
        table, notice = self._table
        own = table.filter(pl.col("user") == int(name))
        samples = Samples(
            own.select("x", "y", "z").to_numpy().astype(np.float32),
            own["activity"].to_numpy(),
            own["run"].to_numpy(),
            own["time"].to_numpy() / NANOSECONDS,
        )
        return self.cut_out(name, samples, self.stride, notice)

    @cached_property
    def _table(self) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """All good records, and a notice of the others."""
        where = locate(ORIGIN, self.root)
        text = read_members(where, [FILE])[FILE].decode("ascii", errors="replace")
        records = pl.DataFrame({"record": text.replace("\n", ";").split(";")})
        records = records.with_columns(pl.col("record").str.strip_chars()).filter(pl.col("record") != "")
        fields = (
            pl.col("record")
            .str.extract_groups(RECORD)
            .struct.rename_fields(["user", "activity", "time", "x", "y", "z"])
        )
        table = (
            records.select(fields)
            .unnest("record")
            .cast({"user": pl.Int64, "time": pl.Int64, "x": pl.Float64, "y": pl.Float64, "z": pl.Float64}, strict=False)
        )
        good = table.drop_nulls().filter(pl.col("time") > 0, pl.col("activity").is_in(self.known_classes))
        left_out = len(table) - len(good)
        good = good.with_columns(run=pl.struct("user", "activity").rle_id())
        return good, (f"{left_out} of the {len(table)} records of {FILE} are broken or have no time",) * (left_out > 0)
