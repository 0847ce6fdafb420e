import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config, everything
from torch.testing import assert_close

from da.build import build
from da.data import amazon, download
from da.data.amazon import AmazonReviews, CountTransform
from da.data.rows import Draw

BATCH_SIZE = {"source": 4, "target": 4}
ROWS = {"train": 30, "test": 12}


def make(root=None, **settings):
    defaults = {"source": "books", "target": "dvd", "batch_size": BATCH_SIZE}
    return AmazonReviews(root=root and str(root), **defaults | settings)


@pytest.fixture
def counts():
    """Dense counts and labels of every domain and part."""
    rng = np.random.default_rng(0)
    return {
        (name, split): (rng.poisson(0.01, (n, 5000)).astype(np.uint8), np.arange(n) % 2)
        for name in AmazonReviews.known_names
        for split, n in ROWS.items()
    }


@pytest.fixture
def root(tmp_path, monkeypatch, counts):
    """A file as the shipped one."""
    arrays = {}
    for (name, split), (x, y) in counts.items():
        rows, columns = x.nonzero()
        key = f"{name}_{split}"
        arrays |= {f"{key}_data": x[rows, columns], f"{key}_indices": columns.astype(np.int16), f"{key}_y": y}
        arrays[f"{key}_indptr"] = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(x)))])
    folder = tmp_path / "data"
    (folder / "text").mkdir(parents=True)
    file = folder / "text" / "amazon_reviews_5000.npz"
    np.savez(file, **arrays)
    monkeypatch.setattr(amazon, "SHA256", download.sha256(file))
    return folder


def write_svmlight(folder, counts):
    """The same rows as published: the class is -1 or 1, features count from 0."""
    folder.mkdir(parents=True)
    for (name, split), (x, y) in counts.items():
        lines = [
            f"{2 * c - 1} " + " ".join(f"{j}:{row[j]}" for j in row.nonzero()[0]) for row, c in zip(x, y, strict=True)
        ]
        (folder / f"{name}_{split}.svmlight").write_text("\n".join(lines) + "\n")


def test_both_parts_of_a_domain_hold_the_counts_and_labels_of_the_file(root, counts):
    target = make(root, counts="raw").domain("target")
    for rows, split in ((target.train, "train"), (target.val, "train"), (target.test, "test")):
        x, y = counts["dvd", split]
        batch = everything(rows)
        assert torch.equal(batch.x, torch.from_numpy(x).float())
        assert batch.y.tolist() == y.tolist()


def test_source_holds_out_a_part_of_its_training_reviews_only(root, counts):
    source = make(root, counts="raw", val_fraction=0.3).domain("source")
    assert torch.equal(everything(source.test).x, torch.from_numpy(counts["books", "test"][0]).float())
    own = torch.cat([everything(rows).x for rows in (source.train, source.val)])
    assert 0 < len(source.val) < 30
    assert sorted(map(tuple, own.tolist())) == sorted(map(tuple, counts["books", "train"][0].tolist()))


@pytest.mark.parametrize(("kind", "expected"), [("log", [0.0, np.log(2), np.log(256)]), ("binary", [0, 1, 1])])
def test_counts_are_transformed_on_the_batch(kind, expected):
    x = torch.tensor([[0, 1, 255]], dtype=torch.uint8)
    assert_close(CountTransform(kind)(x, Draw(torch.arange(1), 0)), torch.tensor([expected], dtype=torch.float32))
    assert x.dtype == torch.uint8


def test_counts_stay_bytes_in_memory(root):
    assert make(root).records("books").x.dtype == torch.uint8


def test_published_files_give_the_same_rows(root, counts, tmp_path):
    write_svmlight(tmp_path / "published/text/amazon_reviews", counts)
    ours, theirs = (make(folder).records("kitchen") for folder in (root, tmp_path / "published"))
    assert torch.equal(ours.x, theirs.x)
    assert (ours.labels, ours.keys, ours.split, ours.sha256) == (
        theirs.labels,
        theirs.keys,
        theirs.split,
        theirs.sha256,
    )


def test_classes_are_known_without_a_file():
    data = make()
    assert (data.class_names, data.facts()) == (("negative", "positive"), {"num_classes": 2, "num_features": 5000})


def test_review_in_both_parts_is_reported_as_a_leak(root, counts, tmp_path):
    counts["dvd", "test"][0][3] = counts["dvd", "train"][0][7]
    write_svmlight(tmp_path / "published/text/amazon_reviews", counts)
    data = make(tmp_path / "published")
    data.load(frozenset({"source", "target"}))
    assert "leak: 1 of the 12 test rows of dvd are among its training rows too" in data.notices


def test_missing_file_says_what_to_get_and_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path).domain("source")
    for part in (
        "text/amazon_reviews_5000.npz",
        "github.com/GRAAL-Research/domain_adversarial_neural_network",
        "<root>/text/amazon_reviews",
        "DA_DATA_ROOT",
    ):
        assert part in str(error.value)


def test_changed_file_is_refused(root):
    file = root / "text" / "amazon_reviews_5000.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is not the file it should be"):
        make(root).domain("source")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "cameras"}, "there is no domain 'cameras': .* books, dvd, electronics, kitchen"),
        ({"target": "books"}, "more than once"),
        ({"num_features": 400}, "num_features=400, but the reviews have 5000"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


@pytest.mark.parametrize("suffix", [".npz", ".svmlight"])
def test_new_counts_are_read_as_the_targets(suffix, counts, tmp_path):
    x, _ = counts["books", "test"]
    write_svmlight(tmp_path / "new", {("new", "rows"): counts["books", "test"]})
    file = tmp_path / "new" / f"new_rows{suffix}"
    if suffix == ".npz":
        np.savez(file, x=x)
    rows, names = make().inputs(str(file))
    batch = everything(rows)
    assert_close(batch.x, torch.from_numpy(x).float().log1p())
    assert names == [str(i) for i in range(12)]
    assert (batch.y == -1).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [(np.zeros((2, 400), np.uint8), r"x is \[2, 400\], expected \[n, 5000\]"), (np.full((2, 5000), 0.5), "no counts")],
)
def test_new_rows_that_are_no_counts_are_refused(x, message, tmp_path):
    np.savez(tmp_path / "new.npz", x=x)
    with pytest.raises(ValueError, match=message):
        make().inputs(str(tmp_path / "new.npz"))


def test_svmlight_row_that_is_no_row_is_refused(tmp_path):
    (tmp_path / "new.svmlight").write_text("1 0:2\n1 5001:3\n")
    with pytest.raises(ValueError, match="no rows of 5000 counts"):
        make().inputs(str(tmp_path / "new.svmlight"))


def test_the_config_builds_data_that_the_mlp_reads(root):
    cfg = config("data=amazon_reviews", "net=mlp", f"data.root={root}", "data.batch_size={source:4,target:4}")
    data, net = build(cfg.data, "data"), build(cfg.net, "net")
    z, logits = net.eval()(everything(data.eval_set("target", "test")).x)
    assert (z.shape, logits.shape) == ((12, cfg.net.feature_dim), (12, 2))


REAL = os.environ.get("DA_DATA_ROOT")


@pytest.mark.real
@pytest.mark.skipif(not (REAL and (Path(REAL) / amazon.ORIGIN.places[0]).is_file()), reason="DA_DATA_ROOT has no file")
def test_real_file_has_the_sizes_of_the_paper_and_its_labels_make_sense():
    from sklearn.linear_model import LogisticRegression

    sizes = {"books": 4465, "dvd": 3586, "electronics": 5681, "kitchen": 5945}  # Ganin et al. 2016, sec. 5.1.2
    for source, target in (("books", "dvd"), ("electronics", "kitchen")):
        data = make(REAL, source=source, target=target, val_fraction=0.0)
        for role, name in (("source", source), ("target", target)):
            domain = data.domain(role)
            assert (len(domain.train), len(domain.test)) == (2000, sizes[name])
            assert domain.train.y.bincount().tolist() == [1000, 1000]
        train, test = everything(data.domain("source").train), everything(data.domain("target").test)
        model = LogisticRegression(C=0.1, max_iter=200).fit(train.x.numpy(), train.y.numpy())
        expected = {"dvd": 0.80, "kitchen": 0.85}[target]  # the data's README
        assert model.score(test.x.numpy(), test.y.numpy()) == pytest.approx(expected, abs=0.01)
