"""Data sets of the library `datasets`, made here and read from disk."""

import io
import json

import numpy as np
import polars as pl
import pytest
import torch
from conftest import everything
from PIL import Image
from scipy.io import wavfile
from torch.testing import assert_close

from da.data import huggingface
from da.data.csv import Csv
from da.data.huggingface import HuggingFace
from da.types import HIDDEN

library = pytest.importorskip("datasets")
IMAGES = {"channels": 3, "size": 8}
KNOWN = {"batch_size": {"source": 4, "target": 4}, "val_fraction": 0.0}
N = 30


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(library.config, "HF_CACHE_HOME", str(tmp_path / "hf"))
    library.disable_progress_bars()


def make(where, source="a", target="b", **settings):
    return HuggingFace(str(where), source, target, **KNOWN | settings)


def png(seed):
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def wav(seed):
    content = io.BytesIO()
    wavfile.write(content, 100, np.random.default_rng(seed).integers(-9000, 9000, 50).astype(np.int16))
    return content.getvalue()


def photos(first=0, media="image", make_bytes=png, kind=None):
    features = {
        media: kind or library.Image(),
        "label": library.ClassLabel(names=["cat", "dog"]),
        "domain": library.Value("string"),
    }
    columns = {
        media: [{"bytes": make_bytes(first + i), "path": None} for i in range(N)],
        "label": [i % 2 for i in range(N)],
        "domain": ["ab"[i % 3 == 0] for i in range(N)],
    }
    # Made as what they are stored as: to encode sounds the library wants one more package, to hold them it does not.
    stored = {**features, media: {"bytes": library.Value("binary"), "path": library.Value("string")}}
    rows = library.Dataset.from_dict(columns, features=library.Features(stored))
    return rows.cast_column(media, features[media])


def table(first=0, n=N):
    random = np.random.default_rng(first)
    return pl.DataFrame(
        {
            "age": random.normal(50, 9, n),
            "ward": random.choice(["x", "y"], n),
            "label": ["ill", "well"] * (n // 2),
            "domain": ["a", "a", "b"] * (n // 3),
        }
    )


def test_images_of_a_saved_data_set_are_read_as_files_are(tmp_path):
    photos().save_to_disk(tmp_path / "saved")
    data = make(tmp_path / "saved", input=IMAGES, resize=8, augment="none")
    data.load(frozenset({"source", "target"}))
    target = everything(data.domain("target").test)
    own = [i for i in range(N) if i % 3 == 0]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(png(i)))) for i in own])
    assert_close(target.x, (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)
    assert target.y.tolist() == [i % 2 for i in own]
    assert data.class_names == ("cat", "dog")
    assert data.records("b").keys == [f"train/{i}" for i in own]
    assert data.facts() == {"num_classes": 2}


def test_sounds_are_read_as_files_are(tmp_path):
    photos(media="clip", make_bytes=wav, kind=library.Audio()).save_to_disk(tmp_path / "saved")
    data = make(tmp_path / "saved", input={"rate": 100, "seconds": 0.5})
    x = everything(data.domain("target").test).x
    _, clip = wavfile.read(io.BytesIO(wav(3)))
    assert_close(x[1], torch.tensor(clip.tolist()) / 32768)


def test_an_image_that_lies_elsewhere_on_disk_is_found_and_a_missing_one_is_bad(tmp_path):
    (tmp_path / "3.png").write_bytes(png(77))
    rows = photos().cast_column("image", library.Image(decode=False)).to_dict()
    rows["image"][3], rows["image"][6] = {"bytes": None, "path": str(tmp_path / "3.png")}, None
    features = photos().features
    library.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    settings = {"input": IMAGES, "resize": 8, "augment": "none"}
    with pytest.raises(ValueError, match="1 of 10 files of 'b' can't be read: train/6"):
        make(tmp_path / "saved", **settings).domain("target")
    data = make(tmp_path / "saved", on_bad="skip", **settings)
    assert data.records("b").keys[:3] == ["train/0", "train/3.png", "train/9"]
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(png(77)))))
    assert (data.records("b").x[1] == pixels.permute(2, 0, 1)).all()


def test_splits_are_the_parts_of_every_domain(tmp_path):
    parts = {"train": photos(), "validation": photos(100), "test": photos(200)}
    library.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    data = make(tmp_path / "saved", input=IMAGES, val_fraction=0.1)
    assert [len(part) for part in data.domain("source")[1:]] == [20, 20, 20]
    assert len(data.domain("target").test) == 10
    chosen = make(tmp_path / "saved", input=IMAGES, splits=["train", "test"])
    assert [len(chosen.domain("target").train), len(chosen.domain("target").test)] == [10, 10]
    assert len(make(tmp_path / "saved", input=IMAGES, splits=["test"]).records("b").keys) == 10
    with pytest.raises(ValueError, match="data.splits names extra, but .*saved has test, train, validation"):
        make(tmp_path / "saved", splits=["extra"]).domain("target")


def test_domains_may_be_splits(tmp_path):
    library.DatasetDict({"shop": photos(), "street": photos(100)}).save_to_disk(tmp_path / "saved")
    data = make(tmp_path / "saved", "shop", "street", domains="split", input=IMAGES)
    assert len(data.domain("source").train) == len(data.domain("target").test) == N
    assert data.records("shop").split is None
    with pytest.raises(ValueError, match="has no split 'web'; it has shop, street"):
        make(tmp_path / "saved", "shop", "web", domains="split", input=IMAGES).domain("target")
    with pytest.raises(ValueError, match="has the splits shop, street, of which shop, street is none of train, val"):
        make(tmp_path / "saved", input=IMAGES).domain("target")


def test_domains_may_be_configurations(tmp_path):
    for seed, name in enumerate("ab"):
        (tmp_path / "set" / name).mkdir(parents=True)
        table(seed).drop("domain").write_parquet(tmp_path / f"set/{name}/train.parquet")
    cards = "".join(f"- config_name: {name}\n  data_dir: {name}\n" for name in "ab")
    (tmp_path / "set/README.md").write_text(f"---\nconfigs:\n{cards}---\n")
    data = make(tmp_path / "set", domains="config", standardise="none")
    x = everything(data.domain("target").test).x["numeric"]
    assert_close(x[:, 0], torch.tensor(table(1)["age"].to_list()))
    with pytest.raises(ValueError, match="can't load data.dataset=.*, configuration c: .*'c' not found"):
        make(tmp_path / "set", "a", "c", domains="config").domain("target")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ""])
def test_a_table_is_what_data_csv_makes_of_it(tmp_path, suffix):
    table().write_parquet(tmp_path / "t.parquet")
    table().write_csv(tmp_path / "t.csv")
    table().write_ndjson(tmp_path / "t.json")
    library.Dataset.from_polars(table()).save_to_disk(tmp_path / "t")
    data = make(tmp_path / f"t{suffix}")
    same = Csv("a", "b", table=str(tmp_path / "t.csv"), **KNOWN)
    for role in ("source", "target"):
        found, expected = (everything(d.domain(role).test) for d in (data, same))
        for part in ("numeric", "categorical"):
            assert_close(found.x[part], expected.x[part])
        assert (found.y == expected.y).all()
    assert data.facts() == same.facts()


def test_a_class_label_that_hides_the_class_is_none(tmp_path):
    features = library.Features(
        {
            "x": library.Value("float64"),
            "label": library.ClassLabel(names=["no", "yes"]),
            "site": library.Value("int64"),
        }
    )
    columns = {"x": list(range(12)), "label": [0, 1] * 3 + [-1] * 6, "site": [1] * 6 + [2] * 6}
    library.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    data = make(tmp_path / "saved", 1, 2, domain="site")
    assert data.class_names == ("no", "yes")
    assert (data.domain("target").test.y == HIDDEN).all()


def test_other_columns_than_the_image_may_be_the_features(tmp_path):
    rows = photos().add_column("age", np.arange(float(N)))
    rows.save_to_disk(tmp_path / "saved")
    data = make(tmp_path / "saved", ignore=["image"], standardise="none")
    assert everything(data.domain("target").test).x[:, 0].tolist() == [i for i in range(N) if i % 3 == 0]
    more = photos(media="more").select_columns(["more"])
    library.concatenate_datasets([rows, more], axis=1).save_to_disk(tmp_path / "twice")
    with pytest.raises(ValueError, match="has the columns image, more: data.path names the one to read"):
        make(tmp_path / "twice", input=IMAGES).domain("target")
    assert len(make(tmp_path / "twice", input=IMAGES, path="more").domain("target").test) == 10


def test_new_rows_come_from_a_table_or_from_files(tmp_path):
    table().write_parquet(tmp_path / "t.parquet")
    trained = make(tmp_path / "t.parquet")
    new = make("gone")
    new.restore(json.loads(json.dumps(trained.state())))
    table().filter(domain="b").drop("label", "domain").write_csv(tmp_path / "new.csv")
    rows, names = new.inputs(str(tmp_path / "new.csv"))
    assert_close(everything(rows).x["numeric"], everything(trained.domain("target").test).x["numeric"])
    photos().save_to_disk(tmp_path / "saved")
    trained = make(tmp_path / "saved", input=IMAGES, resize=8, augment="none")
    new = make("gone", input=IMAGES, resize=8, augment="none")
    new.restore(json.loads(json.dumps(trained.state())))
    (tmp_path / "photos").mkdir()
    for i in (0, 3):
        (tmp_path / f"photos/{i}.png").write_bytes(png(i))
    rows, names = new.inputs(str(tmp_path / "photos"))
    assert names == ["0.png", "3.png"]
    assert_close(everything(rows).x, everything(trained.domain("target").test).x[:2], rtol=0, atol=0)


def test_what_there_is_not_is_named(tmp_path, monkeypatch):
    table().write_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="no row of .*t.parquet has 'c' in column 'domain'; there are a, b"):
        make(tmp_path / "t.parquet", "a", "c").domain("target")
    with pytest.raises(
        ValueError, match="has no column 'site' .data.domain., but age, ward, label, domain; data.domains"
    ):
        make(tmp_path / "t.parquet", domain="site").domain("target")
    with pytest.raises(ValueError, match="data.domains=config, but .*t.parquet is one data set without configurations"):
        make(tmp_path / "t.parquet", domains="config").domain("target")
    with pytest.raises(ValueError, match="can't load data.dataset=nobody/nothing: Couldn't reach 'nobody/nothing'"):
        make("nobody/nothing").domain("target")
    (tmp_path / "bad.parquet").write_bytes(b"bad")
    with pytest.raises(ValueError, match="can't load data.dataset=.*bad.parquet: "):
        make(tmp_path / "bad.parquet").domain("target")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(huggingface, "import_module", missing)
    with pytest.raises(ImportError, match="data=huggingface needs datasets: pip install 'lambda-da.huggingface.'"):
        make(tmp_path / "t.parquet").domain("target")
