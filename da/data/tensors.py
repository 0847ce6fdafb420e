"""A user's own arrays: images, vectors or series, a file for each domain."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor

from da.data.arrays import Arrays, read_arrays
from da.data.classes import listed
from da.data.images import ToNetwork, resize
from da.data.records import Records, content_hashes, file_label, labelled_sha256
from da.data.rows import Rows, TensorRows, Transform
from da.data.scaling import ScaledData, find_gaps
from da.types import HIDDEN

Kind = Literal["images", "vectors", "series"]
DIMENSIONS: Mapping[Kind, tuple[int, ...]] = {"images": (3, 4), "vectors": (2,), "series": (3,)}
SHAPES = (
    "vectors [n, features] for net=mlp, series [n, channels, time] for net=cnn1d or tcn, uint8 images [n, h, w], "
    "[n, h, w, c] or [n, c, h, w] for net=lenet, torchvision or timm"
)


@final
class Tensors(ScaledData):
    """Domains that are files of arrays x [N, ...] and, all but the target, y [N]: .npz, .safetensors or .parquet.

    What x is follows from the network: uint8 images where `input` has a size (resized to it once), vectors where it
    has features, else vectors or series by x itself. y are whole numbers or names; what is NaN or "" has no label. With
    x_train, y_train, x_test, y_test (and x_val, y_val) the split is given. An array `group` keeps rows in one part,
    `split` says "train", "val" or "test" for each. A parquet file has x as a column of lists, or a column of numbers
    for each feature, then taken in the order of their names.

    Args:
        source: a file, or several.
        target: a file.
        input: facts about what the network reads (`net.input`).
        num_features: of vectors; None: as many as there are.
        num_channels: of series; None: as many as there are.
        length: of series; None: as long as they are.
        settings: of `ScaledData`; images are not scaled by it but by the mean and std of `input`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it can't be read, domains differ in shape, x is not what the network reads.
    """

    def __init__(
        self,
        source: str | Sequence[str],
        target: str,
        input: Mapping[str, Any] | None = None,
        num_features: int | None = None,
        num_channels: int | None = None,
        length: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(source=source, target=target, **settings)
        self.input = dict(input or {})
        self.given = {"num_features": num_features, "num_channels": num_channels, "length": length}
        if files := {"rate", "tokenizer"} & self.input.keys():
            raise ValueError(
                f"net.input has {min(files)!r}: this network reads files (data=folder). There are {SHAPES}"
            )
        self._shape: tuple[tuple[int, ...], str] | None = None  # of a row, and the file that it was first seen in

    @property
    def scaled(self) -> bool:
        return "size" not in self.input

    def short_name(self, name: str) -> str:
        return file_label(name, (*self.sources, self.target))

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), **self._facts(tuple(self.records(self.target).x.shape[1:]))}

    def state(self) -> dict[str, Any]:
        shape = list(self.records(self.target).x.shape[1:])
        return {**super().state(), "shape": shape, "columns": list(self.feature_names)}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._shape = tuple(state["shape"]), "the data that were trained on"
        self.feature_names = tuple(state["columns"])

    def transforms(self, name: str) -> tuple[Transform | None, Transform | None]:
        return super().transforms(name) if self.scaled else (self._to_network(),) * 2

    def read_records(self, name: str) -> Records:
        rows = self._read(name)
        if name in self.sources and rows.labels is not None and "" in rows.labels:
            unlabelled = [key for key, label in zip(rows.keys, rows.labels, strict=True) if not label]
            raise ValueError(f"{name}: the source has no label in rows {listed(unlabelled)}: leave them out")
        content, sha256 = content_hashes([rows.x.numpy()])
        sha256 = labelled_sha256(sha256, rows.labels)
        return Records(rows.x, rows.labels, rows.keys, content, sha256, rows.split, rows.group, rows.notices)

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        rows = self._read(where)
        self.notices += [f"{where}: {notice}" for notice in rows.notices]
        y = torch.full((len(rows.x),), HIDDEN)
        return TensorRows(rows.x, y, len(self.sources), self.transforms(self.target)[1]), rows.keys

    def _read(self, where: str) -> Arrays:
        """Read a file's rows, and check that the network and the other domains have the like."""
        rows, name = read_arrays(where), Path(where).name
        kind = self._kind(rows.x, name)
        if kind == "images":
            return rows._replace(x=resize(_channels_first(rows.x, name), self.input["size"]))
        shape = tuple(rows.x.shape[1:])
        known, first = self._shape or (shape, name)
        if shape != known:
            raise ValueError(f"a row of x is {list(shape)} in {name}, but {list(known)} in {first}: they must be alike")
        if self._shape is not None and tuple(rows.columns) != tuple(self.feature_names):
            other = listed(set(rows.columns) ^ set(self.feature_names))
            raise ValueError(f"{name} and {first} are of different columns; only one of them has {other}")
        self._shape, self.feature_names = (known, first), rows.columns
        for option, value in self._facts(shape).items():
            if self.given[option] not in (None, value):
                raise ValueError(f"data.{option}={self.given[option]}, but x in {name} has {value}")
        kept, notices = find_gaps(rows.x, self.on_nan, name, self.named_features(shape[0]))
        rows = rows if kept is None else rows.keep(kept)
        return rows._replace(notices=(*rows.notices, *notices))

    def _kind(self, x: Tensor, name: str) -> Kind:
        """What x should be for the network, or what it is where the network does not say."""
        by_input: dict[str, Kind] = {"size": "images", "features": "vectors", "channels": "series"}
        by_shape: Kind = "vectors" if x.ndim == 2 else "series"
        kind = next((kind for key, kind in by_input.items() if key in self.input), by_shape)
        if x.ndim not in DIMENSIONS[kind]:
            raise ValueError(f"{name}: x is {list(x.shape)}, but the network reads {kind}. There are {SHAPES}")
        if kind == "images" and x.dtype != torch.uint8:
            raise ValueError(f"{name}: x is of type {x.dtype}, but images are bytes: uint8, from 0 to 255")
        return kind

    def _facts(self, shape: tuple[int, ...]) -> dict[str, int]:
        if not self.scaled:
            return {}
        return {"num_features": shape[0]} if len(shape) == 1 else {"num_channels": shape[0], "length": shape[1]}

    def _to_network(self) -> ToNetwork:
        mean, std = (self.input.get(name, 0.5) for name in ("mean", "std"))
        by_channel = (tuple(value) if isinstance(value, Sequence) else value for value in (mean, std))
        return ToNetwork(self.input["channels"], self.input["size"], *by_channel)


def _channels_first(x: Tensor, name: str) -> Tensor:
    """Images [n, h, w, c] or [n, c, h, w] as [n, c, h, w], of one channel as [n, h, w]."""
    if x.ndim == 3:
        return x
    first, last = (x.shape[i] in (1, 3) for i in (1, 3))
    if first == last:
        what = "either the second or the last number may be that of the channels" if first else "there are no channels"
        raise ValueError(
            f"{name}: x is {list(x.shape)}: {what}. Images are [n, h, w, c] or [n, c, h, w], c being 1 or 3"
        )
    x = x if first else x.permute(0, 3, 1, 2).contiguous()
    return x if x.shape[1] == 3 else x[:, 0]
