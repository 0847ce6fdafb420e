"""Figures: they are drawn, whatever a run has left behind."""

import numpy as np
import pytest

from da.report.curves import curves_figure
from da.report.figures import Features, confusion_figure, epoch_figure, features_figure, per_class_figure


@pytest.fixture
def path(tmp_path):
    return tmp_path / "figure.png"


def is_drawn(path) -> bool:
    """A PNG with more than one colour."""
    from matplotlib.image import imread

    return bool(imread(path).std() > 0)


def features(n: int = 12, classes: int = 3, width: int = 4) -> Features:
    rng = np.random.default_rng(0)
    z_s, z_t = rng.normal(size=(n, width)), rng.normal(size=(n + 1, width))
    return Features(z_s, rng.integers(0, classes, n), z_t, rng.integers(0, classes, n + 1))


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_features_are_drawn(path, projection):
    features_figure(features(), features(), path, projection, ("usps", "mnist"))
    assert is_drawn(path)


@pytest.mark.parametrize("case", ["equal", "nan", "one row", "one column", "unknown classes", "many classes"])
def test_odd_features_are_drawn(path, case):
    plain = features()
    odd = {
        "equal": plain._replace(z_source=np.ones((12, 4)), z_target=np.ones((13, 4))),
        "nan": plain._replace(z_source=np.full((12, 4), np.nan)),
        "one row": features(1),
        "one column": features(width=1),
        "unknown classes": plain._replace(y_target=np.full(13, -1)),
        "many classes": features(200, 65),
    }[case]
    features_figure(plain, odd, path, "pca")
    assert is_drawn(path)


def test_the_same_features_give_the_same_figure(tmp_path):
    for name in ("a.png", "b.png"):
        features_figure(features(), features(), tmp_path / name, "tsne")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("projection", ["pca", "tsne"])
def test_from_epoch_to_epoch_the_points_stay_where_they_are_as_far_as_can_be(path, projection):
    """Features that are mirrored and stretched are drawn where they were; by themselves they would be elsewhere."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 6, 120)
    z = (rng.normal(size=(120, 8)) + 6 * rng.normal(size=(6, 8))[y]) * np.r_[3, np.ones(7)]
    first = epoch_figure(Features(z[:60], y[:60], z[60:], y[60:]), "after epoch 1", path, projection)
    z = z * np.r_[-1, np.linspace(0.5, 1.5, 7)] + 0.3 * rng.normal(size=z.shape)
    again = Features(z[:60], y[:60], z[60:], y[60:])
    close, alone = (epoch_figure(again, "after epoch 2", path, projection, last=last) for last in (first, None))
    moved, elsewhere = (np.linalg.norm(xy - first) / np.linalg.norm(first) for xy in (close, alone))
    assert moved < 0.4 < 0.5 < elsewhere
    lost = again._replace(z_source=np.where(np.arange(60)[:, None] < 3, np.nan, again.z_source))
    assert len(epoch_figure(lost, "after epoch 3", path, projection, last=close)) == 117
    assert is_drawn(path)


def test_curves_of_a_run_are_drawn(path, tmp_path):
    log = tmp_path / "metrics.csv"
    header = "step,epoch,train/loss,train/task,train/weight/align,train/reversal/adversarial,train/lr,val/source_acc"
    rows = "0,0,2.0,1.5,0.0,0.0,0.01,,,\n10,0,nan,1.0,0.5,0.5,0.01,,,\n19,0,,,,,,0.9,1.5,0.8\n"
    log.write_text(f"{header},val/validator/infomax,oracle/target_acc\n{rows}")
    curves_figure(log, path)
    assert is_drawn(path)


def test_a_method_without_weights_has_no_empty_panel(tmp_path):
    from matplotlib.image import imread

    heights = []
    for column in ("train/task", "train/weight/align"):
        log, path = tmp_path / "metrics.csv", tmp_path / "figure.png"
        log.write_text(f"step,train/loss,{column}\n0,1.0,1.0\n1,0.5,0.5\n")
        curves_figure(log, path)
        heights.append(len(imread(path)))
    assert heights[0] < heights[1]


@pytest.mark.parametrize(
    "text",
    ["", "step,epoch\n", "step,epoch,train/loss/fit\n0,0,2.3\n", "step,val/validator/snd,train/loss\n3,nan,nan\n"],
    ids=["empty", "no rows", "one row", "only nan"],
)
def test_curves_of_a_poor_file_are_drawn(path, tmp_path, text):
    log = tmp_path / "metrics.csv"
    log.write_text(text)
    curves_figure(log, path)
    assert is_drawn(path)


def test_a_file_without_steps_is_refused(path, tmp_path):
    log = tmp_path / "metrics.csv"
    log.write_text("epoch,train/loss\n0,1.0\n")
    with pytest.raises(ValueError, match="no column 'step'"):
        curves_figure(log, path)


@pytest.mark.parametrize("names", [["0", "1", "2"], ["a_long_name", "another_name", "the_last"]])
def test_accuracies_of_classes_are_drawn(path, names):
    per_class_figure(names, {"last": [0.9, float("nan"), 1.0], "selected": [0.8, 0.7, 0.0]}, path)
    assert is_drawn(path)


def test_accuracies_of_other_classes_are_refused(path):
    with pytest.raises(ValueError, match="'last' has 1 accuracies, but there are 2 class names"):
        per_class_figure(["0", "1"], {"last": [0.9]}, path)


@pytest.mark.parametrize("matrix", [[[3, 1], [0, 0]], np.eye(65)], ids=["a class without rows", "many classes"])
def test_confusions_are_drawn(path, matrix):
    confusion_figure(matrix, path)
    assert is_drawn(path)


def test_a_matrix_that_is_not_square_is_refused(path):
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        confusion_figure(np.ones((2, 3)), path)
