import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config, everything
from scipy.io import savemat
from torch.testing import assert_close

from da.build import build
from da.data import surf
from da.data.download import sha256
from da.data.surf import PUBLISHED, WORDS, OfficeCaltechSurf, standardised

SETTINGS = {"num_classes": 10, "batch_size": {"source": 4, "target": 4}, "val_fraction": 0.0}


def make(root, **settings):
    return OfficeCaltechSurf(root=str(root), **{"source": "caltech10", "target": "amazon"} | SETTINGS | settings)


def fake_counts():
    """Twenty rows a domain, two a class."""
    generator = np.random.default_rng(0)
    return {name: generator.integers(0, 9, (20, WORDS), dtype=np.uint8) for name in PUBLISHED}, np.arange(20) % 10


@pytest.fixture
def root(tmp_path, monkeypatch):
    counts, y = fake_counts()
    file = tmp_path / surf.FILE
    file.parent.mkdir()
    np.savez(file, **{f"{name}_x": x for name, x in counts.items()}, **{f"{name}_y": y for name in PUBLISHED})
    monkeypatch.setattr(surf, "SHA256", sha256(file))
    return tmp_path


def test_rows_are_shares_and_columns_are_standardised_within_a_domain(root):
    counts, y = fake_counts()
    data = make(root, source="dslr", target="webcam")
    for role, name in (("source", "dslr"), ("target", "webcam")):
        batch = everything(data.domain(role).train)
        shares = counts[name] / counts[name].sum(axis=1, keepdims=True)
        expected = (shares - shares.mean(axis=0)) / shares.std(axis=0)
        assert_close(batch.x, torch.from_numpy(expected).float())
        assert batch.y.tolist() == y.tolist()


def test_a_column_without_variation_becomes_zero():
    counts = np.array([[1, 2, 5], [2, 4, 10]], dtype=np.uint8)
    assert torch.equal(standardised(counts), torch.zeros(2, 3))


def test_all_target_rows_are_adapted_to_and_scored(root):
    target = make(root).domain("target")
    assert len(target.train) == len(target.test) == 20
    assert torch.equal(everything(target.train).x, everything(target.test).x)


def test_the_published_files_give_the_same_rows(root, tmp_path):
    counts, y = fake_counts()
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "features").mkdir(parents=True)
    for name, theirs in PUBLISHED.items():
        content = {"fts": counts[name].astype(float), "labels": y[:, None] + 1}
        savemat(elsewhere / "features" / f"{theirs}_SURF_L10.mat", content)
    for role in ("source", "target"):
        ours, theirs = (everything(make(folder).domain(role).train) for folder in (root, elsewhere))
        assert torch.equal(ours.x, theirs.x)
        assert torch.equal(ours.y, theirs.y)


def test_the_config_builds_what_the_mlp_reads(root):
    cfg = config("data=office_caltech10_surf", "net=mlp", f"data.root={root}")
    assert cfg.net.input.features == WORDS
    data = build(cfg.data, "data")
    x = everything(data.domain("target").test).x
    assert build(cfg.net, "net").eval()(x)[1].shape == (20, 10)


def test_changed_file_is_refused(root, monkeypatch):
    monkeypatch.setattr(surf, "SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"office_caltech10_surf.npz is not the file .* expected 0000"):
        make(root).domain("source")


def test_missing_file_says_what_to_fetch_and_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path).domain("source")
    for part in (surf.FILE, f"Caltech10_SURF_L10.mat below {tmp_path}", "Get ToRelease_GFK.zip", "data.root"):
        assert str(part) in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "caltech"}, "'caltech': data.source and data.target are of amazon, caltech10, dslr, webcam"),
        ({"target": "office"}, "no domain 'office'"),
        ({"num_features": 4096}, "data.num_features=4096, but there are 800 visual words"),
    ],
)
def test_wrong_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **settings)


# Long et al., Domain invariant transfer kernel learning, TKDE 2015, and Transfer feature learning with joint
# distribution adaptation, ICCV 2013: the row "NN", per cent; C caltech10, A amazon, W webcam, D dslr.
NEAREST_NEIGHBOUR = {
    **{"CA": 23.70, "CW": 25.76, "CD": 25.48, "AC": 26.00, "AW": 29.83, "AD": 25.48},
    **{"WC": 19.86, "WA": 22.96, "WD": 59.24, "DC": 26.27, "DA": 28.50, "DW": 63.39},
}
REAL = os.environ.get("DA_DATA_ROOT")
DOMAIN = {name[0].upper(): name for name in PUBLISHED}


@pytest.mark.real
@pytest.mark.skipif(not (REAL and (Path(REAL) / surf.FILE).is_file()), reason="DA_DATA_ROOT has no SURF features")
@pytest.mark.parametrize("task", NEAREST_NEIGHBOUR)
def test_real_features_give_the_published_accuracy_of_the_nearest_neighbour(task):
    data = make(REAL, source=DOMAIN[task[0]], target=DOMAIN[task[1]])
    source, target = everything(data.domain("source").train), everything(data.domain("target").test)
    nearest = torch.cdist(target.x.double(), source.x.double()).argmin(dim=1)
    accuracy = 100 * (source.y[nearest] == target.y).double().mean().item()
    assert round(accuracy, 2) == NEAREST_NEIGHBOUR[task]
