"""Figures of one run: features, accuracy of each class, curves, confusions. Nothing here touches pyplot's state."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.floating]
Projection = Literal["tsne", "pca"]

DPI = 130
ROWS = 500  # of each domain in a figure of features: t-SNE of 1000 points takes 1.5 s, and more points hide one another
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#9a9a9a"  # Okabe & Ito: told apart with any colour vision


class Features(NamedTuple):
    """Feature rows [n, d] of both domains, and their classes [n]; a negative class is unknown."""

    z_source: Floats
    y_source: NDArray[np.integer]
    z_target: Floats
    y_target: NDArray[np.integer]


class _Points(NamedTuple):
    xy: Floats
    y: NDArray[np.integer]
    is_target: NDArray[np.bool_]


def features_figure(
    before: Features,
    after: Features,
    path: Path,
    projection: Projection = "tsne",
    source_name: str = "source",
    target_name: str = "target",
) -> None:
    """Both domains in the plane, before and after training, coloured by domain and by class.

    At most 500 rows of each domain, chosen with a fixed seed; PCA to 50 dimensions first. Each row of panels has
    a projection of its own, so positions can't be compared between them. Rows that aren't finite are left out
    and counted.
    """
    figure = _figure(11.0, 9.5)
    panels = figure.subplots(2, 2, squeeze=False)
    classes = sorted({int(c) for f in (before, after) for y in (f.y_source, f.y_target) for c in np.unique(y)})
    colours = _class_colours(classes)
    for row, stage, features in zip(panels, ("before training", "after training"), (before, after), strict=True):
        points, lost = _project(features, projection)
        for axes, by in zip(row, ("domain", "class"), strict=True):
            axes.set(xticks=[], yticks=[], title=f"{stage}, by {by}" + (f" ({lost} rows not finite)" if lost else ""))
            _scatter(axes, points, by, colours)
    figure.suptitle({"tsne": "t-SNE of the features", "pca": "First two principal components of the features"}[projection])
    _feature_legends(figure, colours, f"{source_name} (source)", f"{target_name} (target)")
    figure.savefig(path, dpi=DPI)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _class_colours(classes: Sequence[int]) -> dict[int, str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    known = [c for c in classes if c >= 0]
    if len(known) <= 10:
        palette = [to_hex(c) for c in colormaps["tab10"].colors]  # type: ignore[attr-defined]
        palette = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"]
    else:
        palette = [to_hex(c) for c in colormaps["viridis"](np.linspace(0, 1, len(known)))]
    return dict(zip(known, palette, strict=False)) | ({-1: "#d0d0d0"} if len(known) < len(classes) else {})


def _project(features: Features, projection: Projection) -> tuple[_Points, int]:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    rng = np.random.default_rng(0)
    source, target = (rng.permutation(len(z))[:ROWS] for z in (features.z_source, features.z_target))
    z = np.concatenate([features.z_source[source], features.z_target[target]]).astype(np.float64)
    y = np.maximum(np.concatenate([features.y_source[source], features.y_target[target]]), -1)
    is_target = np.repeat([False, True], [len(source), len(target)])
    finite = np.isfinite(z).all(axis=1)
    z, y, is_target = z[finite], y[finite], is_target[finite]
    width = min(2 if projection == "pca" else 50, *z.shape)
    if len(z) < 5 or width < 2 or not z.std(axis=0).any():
        return _Points(np.zeros((len(z), 2)), y, is_target), int((~finite).sum())
    xy = PCA(width, random_state=0).fit_transform(z)
    if projection == "tsne":
        xy = xy / xy.std()
        perplexity = min(30.0, (len(z) - 1) / 3)
        # 500 of the usual 1000 iterations: half the time, KL divergence 3 % higher
        xy = TSNE(perplexity=perplexity, init="pca", max_iter=500, random_state=0, n_jobs=1).fit_transform(xy)
    return _Points(xy, y, is_target), int((~finite).sum())


def _scatter(axes: "Axes", points: _Points, by: str, colours: Mapping[int, str]) -> None:
    """Source and target in one random order: the domain drawn last would hide the other."""
    for k in np.random.default_rng(0).permutation(len(points.y)).reshape(-1):
        pass
