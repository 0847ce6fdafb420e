"""Rows of numbers, standardised by statistics of the source or each domain by its own; and what is missing in them."""

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from da.data.classes import listed
from da.data.record_data import RecordData
from da.data.rows import Draw, Transform

Standardise = Literal["source", "each", "none"]
OnNan = Literal["error", "drop", "mean"]

CHUNK = 1024  # rows in float64 at a time


@dataclass(frozen=True)
class Scale:
    """(x - mean) / std, float32: of features [n, d], of channels [n, c, t], or of what a mapping has under "numeric".

    A tuple has a number for each feature or channel, or one for all. Numbers that are NaN or infinite become those of
    `fill`; they stay if it is None. Computed in float64 where x is, so that large numbers keep their differences.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    fill: tuple[float, ...] | None = None

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor | None]:
        mean, std = (torch.tensor(numbers, dtype=torch.float64) for numbers in (self.mean, self.std))
        return mean, std, None if self.fill is None else torch.tensor(self.fill, dtype=torch.float64)

    def __call__(self, x: Any, draw: Draw) -> Any:
        if isinstance(x, Mapping):
            return {**x, "numeric": self(x["numeric"], draw)}
        x = x if x.dtype == torch.float64 else x.float()
        mean, std, fill = (
            None if part is None else part.to(x.dtype).view(-1, *[1] * (x.ndim - 2)) for part in self._tensors
        )
        if fill is not None:
            x = torch.where(x.isfinite(), x, fill)
        return ((x - mean) / std).float()


class Statistics(NamedTuple):
    """Of the finite numbers of each feature or channel, float64 [d]."""

    mean: Tensor
    std: Tensor  # divided by their number, as scikit-learn's StandardScaler; 1 where all of them are equal
    constant: Tensor  # whether they are


def statistics(parts: Sequence[tuple[Tensor, Tensor]]) -> Statistics:
    """Return the statistics of rows: pairs of x, [N, d] or [N, c, t], and the numbers of the rows that count.

    The mean of a feature without a finite number is NaN.
    """
    count = torch.stack([values.isfinite().sum(1) for values in _chunks(parts)]).sum(0)
    mean = torch.stack([values.nansum(1) for values in _chunks(parts)]).sum(0) / count
    squares = torch.stack([(values - mean[:, None]).square().nansum(1) for values in _chunks(parts)]).sum(0)
    low = torch.stack([values.nan_to_num(torch.inf).amin(1) for values in _chunks(parts)]).amin(0)
    high = torch.stack([values.nan_to_num(-torch.inf).amax(1) for values in _chunks(parts)]).amax(0)
    constant = low == high  # rounding leaves their variance a little above zero
    return Statistics(mean, torch.where(constant, 1.0, (squares / count).sqrt()), constant)


def _chunks(parts: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
    """The same rows as [d, n], a few at a time, with NaN for all that is not finite."""
    for x, rows in parts:
        for chosen in rows.split(CHUNK):
            values = x[chosen].double().transpose(0, 1).flatten(1)
            yield values.where(values.isfinite(), torch.nan)


def find_gaps(x: Tensor, on_nan: OnNan, where: str, features: Sequence[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Return the rows to keep (None: all of them), and notices, given x [N, d] or [N, c, t] with gaps: NaN or infinity.

    `features` are the names of the features or channels. Raises ValueError if there are gaps and should be none.
    """
    if not x.is_floating_point() or (finite := x.isfinite()).all():
        return None, ()
    bad = ~finite.flatten(2).all(2) if x.ndim == 3 else ~finite
    rows = bad.any(1).nonzero().flatten().tolist()
    names = ", ".join([features[i] for i in bad.any(0).nonzero().flatten().tolist()][:20])
    said = (
        f"{int((~finite).sum())} numbers are missing, NaN or infinite: {names} in rows {listed(map(str, rows))} "
        "(counted from 0)"
    )
    if on_nan == "error":
        raise ValueError(
            f"{where}: {said}. data.on_nan=drop leaves these rows out, data.on_nan=mean puts the mean in their place"
        )
    if on_nan == "mean":
        return None, (f"{said}: the mean stands in their place",)
    if len(rows) == len(x):
        raise ValueError(f"{where}: {said}. That is every row: data.on_nan=drop would leave none")
    return (~bad.any(1)).nonzero().flatten(), (f"{len(rows)} rows left out: {said}",)


class ScaledData(RecordData, ABC):
    """Data sets whose x are numbers: vectors [N, d], series [N, c, t], or a mapping that has vectors as "numeric".

    Args:
        standardise: by feature, or by channel of a series. "source": all domains by the mean and standard deviation
            of the source's training rows (of several sources, of all of them together). "each": every domain by those
            of its own training rows; it takes no labels, and hides from the method that the domains differ in scale
            and location. "none": x as it is.
        on_nan: numbers that are missing, NaN or infinite are an error ("error"), their rows are left out ("drop"), or
            the mean stands in their place ("mean"): the source's, under standardise=each the domain's own.
        settings: of `RecordData`.
    """

    feature_names: Sequence[str] = ()
    """For messages; by number where they have no names."""

    def __init__(self, *, standardise: Standardise = "source", on_nan: OnNan = "error", **settings: Any) -> None:
        super().__init__(**settings)
        self.standardise, self.on_nan = standardise, on_nan
        self._scales: dict[tuple[str, ...], Scale] = {}

    @property
    def scaled(self) -> bool:
        """Whether x are numbers to be scaled; not so for images, sounds and texts."""
        return True

    def transforms(self, name: str) -> tuple[Transform | None, Transform | None]:
        return (self.scale(name),) * 2 if self.scaled else super().transforms(name)

    def scale(self, name: str) -> Scale:
        """Return how the rows of a domain are scaled; that of new rows is the target's."""
        by = self._scaled_by(name)
        if by not in self._scales:
            self._scales[by] = self._fit(by)
        return self._scales[by]

    def state(self) -> dict[str, Any]:
        state = super().state()
        if self.scaled:
            scale = self.scale(self.target)
            state["scale"] = {"mean": scale.mean, "std": scale.std, "fill": scale.fill}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        if "scale" in state:
            numbers = state["scale"]
            fill = None if numbers["fill"] is None else tuple(numbers["fill"])
            scale = Scale(tuple(numbers["mean"]), tuple(numbers["std"]), fill)
            self._scales[self._scaled_by(self.target)] = scale

    def named_features(self, width: int) -> list[str]:
        """Return a name for each of the features or channels."""
        return list(self.feature_names) or [f"feature {i}" for i in range(width)]

    def _scaled_by(self, name: str) -> tuple[str, ...]:
        return (name,) if self.standardise == "each" else self.sources

    def _fit(self, names: tuple[str, ...]) -> Scale:
        if self.standardise == "none" and self.on_nan != "mean":
            return Scale()
        parts = []
        for name in names:
            x = self.records(name).x
            split, _ = self.split(name, "target" if name == self.target else "source")
            rows = torch.from_numpy((split == "train").nonzero()[0])
            parts.append((x["numeric"] if isinstance(x, Mapping) else x, rows))
        mean, std, constant = statistics(parts)
        features, whose = self.named_features(len(mean)), "+".join(map(self.short_name, names))
        if empty := [features[i] for i in mean.isnan().nonzero().flatten().tolist()]:
            raise ValueError(f"{whose}: there is no number at all in {', '.join(empty)}: leave it out")
        if equal := [features[i] for i in constant.nonzero().flatten().tolist()]:
            self.notices.append(f"{whose}: {len(equal)} constant in the training rows: {', '.join(equal[:20])}")
        fill = tuple(mean.tolist()) if self.on_nan == "mean" else None
        if self.standardise == "none":
            return Scale(fill=fill)
        return Scale(tuple(mean.tolist()), tuple(std.tolist()), fill)
