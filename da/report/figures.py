"""Figures of one run: features, accuracy of each class, confusions. Nothing here touches pyplot's state."""

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
BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe & Ito: told apart with any colour vision
# Petroff (2021), "Accessible color sequences for data visualization": ten colours, the same for every figure
TEN = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"]


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
    before: Features, after: Features, path: Path, projection: Projection = "tsne", domains: tuple[str, str] = ("", "")
) -> None:
    """Both domains in the plane, before and after training, coloured by domain and by class.

    `domains` are the names of source and target. At most 500 rows of each are shown, chosen with a fixed seed, and
    t-SNE follows a PCA to 50 dimensions. Before and after have a projection each, so positions can't be compared
    between them. Rows that aren't finite are left out and counted.
    """
    stages = {"before training": before, "after training": after}
    _draw_features({name: (one, _project(one, projection)) for name, one in stages.items()}, path, projection, domains)


def epoch_figure(
    features: Features,
    stage: str,
    path: Path,
    projection: Projection = "tsne",
    domains: tuple[str, str] = ("", ""),
    last: Floats | None = None,
) -> Floats:
    """Draw one moment of a training, as in `features_figure`; return the positions [n, 2].

    With the positions of the `last` moment, of the same rows, the picture is one that moves little between the two:
    t-SNE starts from them, principal components are turned and mirrored towards them.
    """
    projected = _project(features, projection, last)
    _draw_features({stage: (features, projected)}, path, projection, domains)
    return projected[0].xy


def _draw_features(
    stages: Mapping[str, tuple[Features, tuple[_Points, int]]],
    path: Path,
    projection: Projection,
    domains: tuple[str, str],
) -> None:
    """A row for each stage, by domain and by class."""
    figure = new_figure(11.0, 0.7 + 4.4 * len(stages))
    panels = figure.subplots(len(stages), 2, squeeze=False)
    colours = _class_colours(np.unique([y for f, _ in stages.values() for y in (*f.y_source, *f.y_target)]).tolist())
    for row, (stage, (_, (points, lost))) in zip(panels, stages.items(), strict=True):
        for axes, by in zip(row, ("domain", "class"), strict=True):
            axes.set(xticks=[], yticks=[], title=f"{stage}, by {by}" + (f" ({lost} rows not finite)" if lost else ""))
            _scatter(axes, points, by, colours)
    figure.suptitle(f"{'t-SNE' if projection == 'tsne' else 'First two principal components'} of the features")
    _feature_legends(figure, colours, domains)
    figure.savefig(path, dpi=DPI)


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty white figure of so many inches."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, compress=True)
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def _class_colours(classes: Sequence[int]) -> dict[int, str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    known = [c for c in classes if c >= 0]
    many = [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 1, len(known)))]
    palette = TEN if len(known) <= len(TEN) else many
    return dict(zip(known, palette, strict=False)) | ({-1: "#d0d0d0"} if len(known) < len(classes) else {})


def _project(features: Features, projection: Projection, last: Floats | None = None) -> tuple[_Points, int]:
    from scipy.linalg import orthogonal_procrustes
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
    start = last if last is not None and len(last) == len(z) and last.any() else None  # fewer rows may be finite now
    xy = PCA(width, random_state=0).fit_transform(z)
    if projection == "tsne":
        xy = xy / xy.std()
        perplexity = min(30.0, (len(z) - 1) / 3)
        # From where points were, the usual exaggeration of 12 would throw them about; 4 ends at the same divergence.
        init, exaggeration = ("pca", 12.0) if start is None else (start, 4.0)
        # 500 of the usual 1000 iterations: half the time, KL divergence 3 % higher
        options = {"perplexity": perplexity, "max_iter": 500, "random_state": 0, "n_jobs": 1}
        xy = TSNE(init=init, early_exaggeration=exaggeration, **options).fit_transform(xy)
    elif start is not None:
        xy = xy @ orthogonal_procrustes(xy, start)[0]
    return _Points(xy, y, is_target), int((~finite).sum())


def _scatter(axes: "Axes", points: _Points, by: str, colours: Mapping[int, str]) -> None:
    if not len(points.y) or not points.xy.any():
        axes.text(0.5, 0.5, "features are all equal,\nor too few", ha="center", va="center", transform=axes.transAxes)
        return
    shown = [colours[c] for c in points.y] if by == "class" else [ORANGE if t else BLUE for t in points.is_target]
    order = np.random.default_rng(0).permutation(len(points.y))
    for rows in np.array_split(order, 10):  # in turns: the domain drawn last would hide the other
        for is_target, marker in ((False, "o"), (True, "x")):
            chosen = rows[points.is_target[rows] == is_target]
            x, y = points.xy[chosen].T
            edge = 1.1 if is_target else 0.0
            axes.scatter(x, y, s=20, c=[shown[k] for k in chosen], marker=marker, alpha=0.65, linewidths=edge)


def _feature_legends(figure: "Figure", colours: Mapping[int, str], domains: tuple[str, str]) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=colour, marker=marker, ls="") for colour, marker in ((BLUE, "o"), (ORANGE, "x"))]
    roles = [f"{role}: {name}" if name else role for role, name in zip(("source", "target"), domains, strict=True)]
    figure.legend(marks, roles, loc="outside lower left", ncols=2, frameon=False)
    names = {c: str(c) if c >= 0 else "unknown" for c in sorted(colours)}
    squares = [Line2D([], [], color=colours[c], marker="s", ls="", label=name) for c, name in names.items()]
    columns = 1 + len(names) // 36
    figure.legend(handles=squares, title="class", loc="outside right center", ncols=columns, frameon=False)


def per_class_figure(class_names: Sequence[str], accuracies: Mapping[str, Sequence[float]], path: Path) -> None:
    """Bars of the target test accuracy (a fraction) of each class, one colour for each of `accuracies`, and its mean.

    A class without rows (NaN) has no bar and isn't in the mean. Raises ValueError where the lengths differ.
    """
    for name, values in accuracies.items():
        if len(values) != len(class_names):
            raise ValueError(f"{name!r} has {len(values)} accuracies, but there are {len(class_names)} class names")
    figure = new_figure(max(6.5, 2.5 + 0.36 * len(class_names)), 4.4)
    axes = figure.subplots()
    width = 0.8 / max(len(accuracies), 1)
    for k, ((name, values), colour) in enumerate(zip(accuracies.items(), TEN, strict=False)):
        percent = 100 * np.asarray(values, dtype=np.float64)
        mean = percent[np.isfinite(percent)].mean() if np.isfinite(percent).any() else math.nan
        where = np.arange(len(percent)) + (k - (len(accuracies) - 1) / 2) * width
        axes.bar(where, percent, width, color=colour, label=name)
        label = f"mean of classes, {name}: {mean:.1f}"
        axes.axhline(mean, color="black", linestyle=("--", ":")[k % 2], linewidth=1.2, label=label)
    axes.set_xticks(range(len(class_names)), class_names, rotation=_slope(class_names))
    axes.set(ylim=(0, 100), xlim=(-0.6, len(class_names) - 0.4), xlabel="class", ylabel="target test accuracy [%]")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=DPI)


def _slope(names: Sequence[str]) -> int:
    return 90 if max(map(len, names), default=0) > 3 else 0


def confusion_figure(matrix: ArrayLike, path: Path, class_names: Sequence[str] | None = None) -> None:
    """Counts [true class, predicted class], each row coloured and written in percent of its true class.

    A class without rows stays white. Raises ValueError on a matrix that isn't square.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"the matrix has shape {counts.shape}, but a confusion matrix is square: [true, predicted]")
    totals = counts.sum(axis=1, keepdims=True)
    percent = 100 * np.divide(counts, totals, out=np.full_like(counts, math.nan), where=totals > 0)
    c = len(counts)
    names = list(class_names) if class_names is not None else [str(k) for k in range(c)]
    side = min(max(5.0, 2.0 + 0.45 * c), 13.0)
    figure = new_figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, label="% of the true class", fraction=0.046, pad=0.02)
    small = 9 if c <= 20 else 7
    axes.set_xticks(range(c), names, rotation=_slope(names), fontsize=small)
    axes.set_yticks(range(c), names, fontsize=small)
    axes.set(xlabel="predicted class", ylabel="true class")
    for row, column in np.argwhere(percent >= 0.5) if c <= 40 else ():
        text, colour = f"{percent[row, column]:.0f}", "white" if percent[row, column] > 55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=small - 1)
    figure.savefig(path, dpi=DPI)
