"""Two-dimensional data whose shift is known."""

import hashlib
from math import cos, pi, radians, sin
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from da.data.base import Domain, DomainData
from da.data.rows import TensorRows, stable_seed
from da.data.streams import Split
from da.types import Role

Shape = Literal["moons", "blobs"]


class Toy(DomainData):
    """Points in the plane, float32 [n, 2]; the target is the source, moved in a known way.

    "moons": two half circles (scikit-learn's), centred, and rotated about the origin in the target. "blobs":
    one cloud a class, its centre on a circle of radius 4, and moved by (`shift`, `shift`) in the target. The
    two domains and their train, val and test rows are independent draws of `num_rows` each, with equally
    many rows a class (as nearly as can be). The target's val rows are its train rows.

    Args:
        shape: "moons" or "blobs".
        num_rows: rows in every split of every domain.
        noise: standard deviation of the normal noise around the curve or the centre.
        rotation: of the target, in degrees counterclockwise; moons only.
        shift: of the target, along both axes; blobs only.
        data_seed: of the points.
        num_features: a fact for the network's configuration; must be 2.
        settings: of `DomainData`.

    Raises:
        ValueError: an unknown shape, other than 2 features, or moons of other than 2 classes.
    """

    def __init__(
        self,
        shape: Shape = "moons",
        num_rows: int = 1000,
        noise: float = 0.1,
        rotation: float = 30.0,
        shift: float = 2.0,
        data_seed: int = 0,
        num_features: int = 2,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        if shape not in get_args(Shape):
            raise ValueError(f"data.shape is {shape!r}, but the shapes are {list(get_args(Shape))}")
        if num_features != 2:
            raise ValueError(f"data.num_features={num_features}, but the points lie in a plane: it must be 2")
        if shape == "moons" and self.num_classes != 2:
            raise ValueError(f"data.num_classes={self.num_classes}, but there are two moons; blobs take any number")
        self.shape, self.num_rows, self.noise = shape, num_rows, noise
        self.rotation, self.shift, self.data_seed = rotation, shift, data_seed
        self._hashes: dict[str, str] = {}

    def names(self) -> dict[Role, str]:
        moved = f"rotated {self.rotation:g}" if self.shape == "moons" else f"shifted {self.shift:g}"
        return {"source": self.shape, "target": f"{self.shape} {moved}"}

    def hashes(self) -> dict[str, str]:
        return dict(self._hashes)

    def read(self, role: Role) -> Domain:
        train, test = self._draw(role, "train"), self._draw(role, "test")
        val = self._draw(role, "val") if role == "source" else train
        name = self.names()[role]
        content = b"".join(rows.x.numpy().tobytes() + rows.y.numpy().tobytes() for rows in (train, val, test))
        self._hashes[name] = hashlib.sha256(content).hexdigest()
        return Domain(name, train, val, test)

    def _draw(self, role: Role, split: Split | Literal["train"]) -> TensorRows:
        generator = torch.Generator().manual_seed(stable_seed(self.data_seed, self.shape, role, split))
        y = torch.arange(self.num_rows) % self.num_classes
        draw = _moons if self.shape == "moons" else _blobs
        x = draw(y, self.num_classes, generator)
        x = x + self.noise * torch.randn(x.shape, generator=generator)
        if role == "target":
            x = rotate(x, self.rotation) if self.shape == "moons" else x + self.shift
        return TensorRows(x, y, int(role == "target"))


def rotate(x: Tensor, degrees: float) -> Tensor:
    """Points `x` [n, 2], rotated counterclockwise about the origin."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return x @ x.new_tensor([[c, s], [-s, c]])


def _moons(y: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
    angle = pi * torch.rand(len(y), generator=generator)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    return torch.where(y[:, None] == 0, upper, -upper)


def _blobs(y: Tensor, num_classes: int, generator: torch.Generator) -> Tensor:
    angle = 2 * pi * y / num_classes
    return 4 * torch.stack([angle.cos(), angle.sin()], dim=1)
