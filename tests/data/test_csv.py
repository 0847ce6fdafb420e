"""Tables of a user's own: features, files and texts in rows."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from conftest import config, everything
from photos import write_photo
from torch.testing import assert_close

from da.assemble import assemble
from da.data import table_data
from da.data.csv import Csv
from da.data.readers.text import TextReader
from da.types import HIDDEN

STREAMS = frozenset({"source", "target"})
IMAGES = {"channels": 3, "size": 8}
MIXED = {"features": None, "cardinalities": None}


def patients(n, seed, **columns):
    """Two numbers, a category and a label, in a table."""
    random = np.random.default_rng(seed)
    given = {
        "age": random.normal(50 + 5 * seed, 9, n).round(2),
        "bmi": random.normal(25, 3, n).round(2),
        "ward": random.choice(["east", "north", "west"], n),
        "label": np.array(["ill", "well"])[np.arange(n) % 2],
    }
    return pl.DataFrame({**given, **columns})


def make(source, target, **settings):
    known = {"batch_size": {"source": 4, "target": 4}, "val_fraction": 0.0}
    return Csv(str(source), str(target), **known | settings)


@pytest.fixture
def two(tmp_path):
    files = tmp_path / "a.csv", tmp_path / "b.csv"
    for seed, file in enumerate(files):
        patients(40 + 10 * seed, seed).write_csv(file)
    return files


def said(data):
    return " | ".join(data.notices)


# ---------------------------------------------------------------- features


def test_numbers_are_scaled_by_the_source_and_categories_numbered_over_both_domains(two):
    data = make(*two)
    a, b = map(pl.read_csv, two)
    mean, std = (np.array([getattr(a[name], of)() for name in ("age", "bmi")]) for of in ("mean", "std"))
    std *= np.sqrt(39 / 40)  # polars divides by n - 1
    for role, frame in (("source", a), ("target", b)):
        samples = everything(data.domain(role).test)
        numbers = (frame.select("age", "bmi").to_numpy() - mean) / std
        assert_close(samples.x["numeric"], torch.from_numpy(numbers).float())
        assert samples.x["categorical"][:, 0].tolist() == [
            ["east", "north", "west"].index(w) + 1 for w in frame["ward"]
        ]
        assert samples.y.tolist() == [["ill", "well"].index(label) for label in frame["label"]]
    assert data.facts() == {"num_classes": 2, "num_features": 2, "cardinalities": [4]}
    assert "2 features are numbers: age, bmi" in said(data)
    assert "1 features are categories: ward" in said(data)


def test_a_training_batch_goes_through_the_network(two):
    cfg = config("data=csv", "net=tabular", f"data.source={two[0]}", f"data.target={two[1]}")
    data, net = assemble(cfg)
    assert cfg.net.input == {"features": 2, "cardinalities": [4]}
    data.load(STREAMS)
    batch = next(iter(data.train_dataloader()))[0]
    assert (batch["target"].y == HIDDEN).all()
    z, logits = net(batch["source"].x)
    assert (z.shape, logits.shape) == ((32, cfg.net.feature_dim), (32, 2))


def test_numbers_alone_are_one_tensor_for_any_network_of_vectors(two):
    overrides = [f"data.source={two[0]}", f"data.target={two[1]}", "data.ignore=[ward]"]
    for name in ("mlp", "tabular"):
        data, net = assemble(config("data=csv", f"net={name}", *overrides))
        x = everything(data.eval_set("target", "test")).x
        assert x.shape == (50, 2)
        assert net(x)[1].shape == (50, 2)


def test_domains_are_values_of_a_column(tmp_path):
    frame = pl.concat([patients(30, seed, domain=[seed] * 30) for seed in range(3)])
    frame.sample(fraction=1, shuffle=True, seed=0).write_parquet(tmp_path / "all.parquet")
    data = Csv(0, 2, table=str(tmp_path / "all.parquet"), batch_size={}, standardise="none", val_fraction=0.0)
    whole = pl.read_parquet(tmp_path / "all.parquet")
    for role, domain in (("source", 0), ("target", 2)):
        own = whole.filter(domain=domain)
        assert_close(everything(data.domain(role).test).x["numeric"], own.select("age", "bmi").to_torch().float())
    assert data.names() == {"source": "0", "target": "2"}
    assert data.records("2").keys == [str(i) for i in range(90) if whole["domain"][i] == 2]
    several = Csv([0, 1], 2, table=str(tmp_path / "all.parquet"), batch_size={}, val_fraction=0.0)
    assert len(several.domain("source").train) == 60
    with pytest.raises(ValueError, match="no row of .* has '3' in column 'domain'; there are 0, 1, 2"):
        Csv(0, 3, table=str(tmp_path / "all.parquet"), batch_size={}).domain("target")
    with pytest.raises(ValueError, match=r"has no column 'site' \(data.domain\); it has age, bmi"):
        Csv(0, 2, table=str(tmp_path / "all.parquet"), domain="site", batch_size={}).domain("target")


def test_every_kind_of_table_holds_the_same_rows(tmp_path, two):
    frame = pl.read_csv(two[1])
    frame.write_csv(tmp_path / "b.tsv", separator="\t")
    frame.write_parquet(tmp_path / "b.parquet")
    frame.write_ndjson(tmp_path / "b.jsonl")
    frame.select(reversed(frame.columns)).write_csv(tmp_path / "turned.csv")
    expected = everything(make(*two).domain("target").test)
    for name in ("b.tsv", "b.parquet", "b.jsonl", "turned.csv"):
        found = everything(make(two[0], tmp_path / name).domain("target").test)
        assert_close(found.x["numeric"], expected.x["numeric"])
        assert (found.x["categorical"] == expected.x["categorical"]).all()
        assert (found.y == expected.y).all()


def test_rows_of_one_group_stay_together(tmp_path):
    for seed, name in enumerate("ab"):
        patients(300, seed, patient=[f"p{i // 10}" for i in range(300)]).write_csv(tmp_path / f"{name}.csv")
    data = make(tmp_path / "a.csv", tmp_path / "b.csv", group="patient", val_fraction=0.3, test_fraction=0.2)
    for name in (*data.sources, data.target):
        split, _ = data.split(name, "source" if name == data.sources[0] else "target")
        assert len(set(split)) > 1
        for number in range(30):
            assert len(set(split[10 * number : 10 * number + 10])) == 1
    assert data.facts()["num_features"] == 2  # the patient is no feature
    assert data.columns.names == ("age", "bmi", "ward")


def test_a_column_may_give_the_split(tmp_path, two):
    part = np.array(["train", "train", "test", "val"])[np.arange(40) % 4]
    patients(40, 5, part=part).write_csv(tmp_path / "t.csv")
    patients(40, 6, part=part).write_csv(tmp_path / "s.csv")
    data = make(tmp_path / "s.csv", tmp_path / "t.csv", split="part", val_fraction=0.1)
    assert (data.split(data.sources[0], "source")[0] == part).all()
    assert len(data.domain("target").test) == 10
    patients(40, 5, part="all").write_csv(tmp_path / "t.csv")
    patients(40, 6, part="all").write_csv(tmp_path / "s.csv")
    with pytest.raises(ValueError, match="the splits are 'train', 'val' and 'test', but there is 'all'"):
        make(tmp_path / "s.csv", tmp_path / "t.csv", split="part").domain("source")


def test_the_target_may_have_no_labels_or_some(tmp_path, two):
    patients(50, 1).drop("label").write_csv(tmp_path / "none.csv")
    none = make(two[0], tmp_path / "none.csv")
    none.load(STREAMS)
    assert (none.domain("target").test.y == HIDDEN).all()
    labels = [["ill", None, "well", ""][i % 4] for i in range(50)]
    patients(50, 1, label=labels).write_csv(tmp_path / "some.csv", quote_style="always")
    assert make(two[0], tmp_path / "some.csv").domain("target").test.y[:4].tolist() == [0, HIDDEN, 1, HIDDEN]
    patients(50, 1, label=None).write_csv(tmp_path / "empty.csv")
    assert (make(two[0], tmp_path / "empty.csv").domain("target").test.y == HIDDEN).all()


def test_gaps_in_the_numbers_are_an_error_or_counted(tmp_path, two):
    text = two[1].read_text().splitlines()
    text[3] = "," + text[3].split(",", 1)[1]
    text[6] = "inf," + text[6].split(",", 1)[1]
    gaps = tmp_path / "gaps.csv"
    gaps.write_text("\n".join(text) + "\n")
    with pytest.raises(ValueError, match="gaps.csv: 2 numbers are missing, NaN or infinite: age in rows 2, 5 "):
        make(two[0], gaps).domain("target")
    dropped = make(two[0], gaps, on_nan="drop")
    whole, kept = everything(make(*two).domain("target").test), [i for i in range(50) if i not in (2, 5)]
    found = everything(dropped.domain("target").test)
    assert_close(found.x["numeric"], whole.x["numeric"][kept])
    assert (found.x["categorical"] == whole.x["categorical"][kept]).all()
    assert (found.y == whole.y[kept]).all()
    assert "2 rows left out: 2 numbers" in said(dropped)
    filled = everything(make(two[0], gaps, on_nan="mean").domain("target").test).x["numeric"]
    assert_close(filled[[2, 5], 0], torch.zeros(2))
    assert_close(filled[kept], whole.x["numeric"][kept])


def test_what_stands_for_an_empty_cell_can_be_named(tmp_path, two):
    patients(40, 3, age=["NA", *["51.5"] * 39]).write_csv(tmp_path / "na.csv")
    with pytest.raises(ValueError, match=r"'age' holds numbers in .*a.csv, but text in .*null_values=\[NA\]"):
        make(two[0], tmp_path / "na.csv").facts()
    data = make(two[0], tmp_path / "na.csv", null_values=["NA"], on_nan="mean")
    assert everything(data.domain("target").test).x["numeric"][0, 0] == 0


def test_a_constant_column_is_told(tmp_path, two):
    patients(40, 3, bmi=21.7).write_csv(tmp_path / "c.csv")
    data = make(tmp_path / "c.csv", two[1])
    data.domain("source")
    assert "c: 1 constant in the training rows: bmi" in said(data)


def test_leaks_are_told(tmp_path, two):
    frame = pl.read_csv(two[0])
    frame.head(20).write_csv(tmp_path / "copy.csv")
    with pytest.raises(ValueError, match="every row of the target .*copy.csv' is a training row of the source"):
        make(two[0], tmp_path / "copy.csv").load(STREAMS)
    pl.concat([frame.head(3), pl.read_csv(two[1])]).write_csv(tmp_path / "some.csv")
    data = make(two[0], tmp_path / "some.csv")
    data.load(STREAMS)
    assert "leak: 3 of the 53 rows" in said(data)


def test_a_class_of_one_side_only_is_named(tmp_path, two):
    patients(40, 4, label=["ill", "dead"] * 20).write_csv(tmp_path / "dead.csv")
    with pytest.raises(ValueError, match="only the target has the classes dead; the other side has ill, well"):
        make(two[0], tmp_path / "dead.csv").facts()


@pytest.mark.parametrize(
    ("source", "target", "settings", "message"),
    [
        ({"label": ["ill", None] * 20}, {}, {}, "s.csv: the source has no label in rows 1, 3, 5"),
        ({"label": None}, {}, {}, "s.csv: the source has no label in rows 0, 1, 2"),
        ({"extra": 1}, {}, {}, "s.csv has the columns extra, and .*t.csv has not"),
        ({}, {"extra": 1}, {}, "t.csv has the columns extra, and .*s.csv has not"),
        ({}, {}, {"label": "class"}, r"s.csv has no column 'class' \(data.label\); it has age, bmi, ward, label"),
        ({}, {}, {"group": "patient"}, r"has no column 'patient' \(data.group\)"),
        ({}, {}, {"split": "part"}, r"has no column 'part' \(data.split\)"),
        ({}, {}, {"ignore": ["id"]}, "data.ignore names id, but .*s.csv has age, bmi, ward, label"),
        ({"label": [i / 40 for i in range(40)]}, {}, {}, "s.csv: 39 labels are fractions, such as 0.025"),
        ({"age": ["1", "old"] * 20}, {}, {}, "'age' holds numbers in .*t.csv, but text in .*s.csv, such as 'old'"),
        ({}, {}, {"num_features": 3}, "data.num_features=3, but the tables have 2"),
        ({}, {}, {"cardinalities": [9]}, r"data.cardinalities=\[9\], but the tables have \[4\]"),
        ({}, {}, {"input": {"features": None}}, "the columns ward are no numbers, .*net=tabular reads both"),
        ({}, {}, {"input": IMAGES}, "the network reads files or texts .*data.path=COLUMN or data.text=COLUMN"),
        ({}, {}, {"path": "a", "text": "b"}, "data.path=a and data.text=b: x are files or texts, not both"),
        ({}, {}, {"path": "file", "input": IMAGES}, r"s.csv has no column 'file' \(data.path\)"),
        ({}, {}, {"path": "ward", "input": MIXED}, "this network reads no files, but rows of numbers"),
        ({}, {}, {"text": "ward", "input": IMAGES}, "data.text=ward, but the network reads no texts; net=transformer"),
    ],
)
def test_tables_that_do_not_fit_are_named(tmp_path, source, target, settings, message):
    patients(40, 0, **source).write_csv(tmp_path / "s.csv")
    patients(40, 1, **target).write_csv(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "s.csv", tmp_path / "t.csv", **settings).domain("source")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"age,label\n1,\xff\xfe\n", "can't read .*t.csv: invalid utf-8"),
        ("t.csv", b"age,label\n1,ill,3\n", "can't read .*t.csv: found more fields"),
        ("t.csv", b"", "can't read .*t.csv: empty CSV"),
        ("t.csv", b"age,label\n", "t.csv has no rows"),
        ("t.csv", b"age,age,label\n1,2,ill\n", "t.csv has more than one column age"),
        ("t.parquet", b"PAR1", "can't read .*t.parquet"),
        ("t.jsonl", b"{", "can't read .*t.jsonl"),
        ("t.xlsx", b"", "t.xlsx is no table: .csv, .tsv, .parquet, .jsonl"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, two, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        make(two[0], tmp_path / name).domain("target")
    with pytest.raises(FileNotFoundError, match="there is no file .*none.csv"):
        make(two[0], tmp_path / "none.csv").domain("target")


def test_new_rows_are_coded_and_scaled_as_those_that_were_trained_on(tmp_path, two):
    trained = make(*two)
    state = json.loads(json.dumps(trained.state()))
    new = make("gone.csv", "gone_too.csv", num_features=2, cardinalities=[4])
    new.restore(state)
    frame = pl.read_csv(two[1]).head(10)
    frame.drop("label").select("ward", "bmi", "age").with_columns(note=pl.lit("?")).write_csv(tmp_path / "new.csv")
    rows, names = new.inputs(str(tmp_path / "new.csv"))
    expected = everything(trained.domain("target").test).x
    for part in ("numeric", "categorical"):
        assert_close(everything(rows).x[part], expected[part][:10], rtol=0, atol=0)
    assert (rows.y == HIDDEN).all()
    assert names == [str(i) for i in range(10)]
    frame.with_columns(ward=pl.lit("south")).write_csv(tmp_path / "south.csv")
    rows, _ = new.inputs(str(tmp_path / "south.csv"))
    assert (everything(rows).x["categorical"] == 0).all()
    assert "10 values of column 'ward' were not trained on" in said(new)
    frame.drop("age").write_csv(tmp_path / "less.csv")
    with pytest.raises(ValueError, match="less.csv has no column age; the network reads age, bmi, ward"):
        new.inputs(str(tmp_path / "less.csv"))


# ---------------------------------------------------------------- files


@pytest.fixture
def photos(tmp_path):
    """A list of 24 photos, and these in a folder beside it."""
    rows = []
    for i in range(24):
        name = f"photos/{i:02}.png"
        (tmp_path / "photos").mkdir(exist_ok=True)
        write_photo(tmp_path / name, seed=i)
        rows.append({"path": name, "label": ["cat", "dog"][i % 2], "domain": ["shop", "street"][i % 3 == 0]})
    pl.DataFrame(rows).write_csv(tmp_path / "list.csv")
    return tmp_path / "list.csv"


def listed(photos, **settings):
    return make("shop", "street", **{"table": str(photos), "input": IMAGES, "resize": 8, "augment": "none"} | settings)


def test_a_list_of_files_is_read_as_the_network_needs_them(photos):
    data = listed(photos)
    data.load(STREAMS)
    target = everything(data.domain("target").test)
    assert data.records("street").keys == [f"photos/{i:02}.png" for i in range(0, 24, 3)]
    assert target.x.shape == (8, 3, 8, 8)
    assert target.x.dtype == torch.float32
    assert target.y.tolist() == [i % 2 for i in range(0, 24, 3)]
    assert data.facts() == {"num_classes": 2}


def test_files_may_lie_below_another_folder(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = photos.rename(tmp_path / "elsewhere/list.csv")
    with pytest.raises(ValueError, match="'list.csv, street' has no file that can be read"):
        listed(moved).domain("target")
    assert len(listed(moved, root=str(tmp_path)).domain("target").test) == 8


def test_files_that_cannot_be_read_are_an_error_or_left_out_and_counted(photos, tmp_path):
    (tmp_path / "photos/03.png").write_bytes(b"no picture")
    (tmp_path / "photos/06.png").unlink()
    with pytest.raises(
        ValueError, match=r"2 of 8 files of 'list.csv, street' can't be read: photos/03.png \(is none of"
    ):
        listed(photos).domain("target")
    data = listed(photos, on_bad="skip")
    assert data.domain("target").test.y.tolist() == [i % 2 for i in range(0, 24, 3) if i not in (3, 6)]
    assert "street: 2 of 8 files left out: photos/03.png" in said(data)


def test_rows_without_a_file_or_of_one_file_are_told(photos):
    frame = pl.read_csv(photos)
    pl.concat([frame, frame.tail(1)]).write_csv(photos)
    data = listed(photos)
    data.domain("source")
    assert "1 rows name a file that an earlier row names too" in said(data)
    frame.with_columns(path=pl.when(pl.col("path").str.contains("03")).then(None).otherwise("path")).write_csv(photos)
    with pytest.raises(ValueError, match="list.csv, street names no file in rows 3 "):
        listed(photos).domain("target")


def test_new_files_are_those_of_a_folder_a_list_or_one(photos, tmp_path):
    trained = listed(photos)
    new = make("gone", "gone_too", table="gone.csv", input=IMAGES, resize=8, augment="none")
    new.restore(json.loads(json.dumps(trained.state())))
    (tmp_path / "photos/notes.txt").write_text("")
    rows, names = new.inputs(str(tmp_path / "photos"))
    assert names == [f"{i:02}.png" for i in range(24)]
    assert "1 files of other kinds left out" in said(new)
    expected = everything(trained.domain("target").test).x
    assert_close(everything(rows).x[::3], expected, rtol=0, atol=0)
    rows, names = new.inputs(str(photos))
    assert names[:2] == ["photos/00.png", "photos/01.png"]
    assert_close(everything(rows).x[::3], expected, rtol=0, atol=0)
    rows, names = new.inputs(str(tmp_path / "photos/03.png"))
    assert names == ["03.png"]
    assert_close(everything(rows).x, expected[1:2], rtol=0, atol=0)


# ---------------------------------------------------------------- texts


class Lengths(TextReader):
    """Reads a text as the number of its letters."""

    def __init__(self):
        pass

    def encode(self, texts):
        return {"input_ids": torch.tensor([[len(text)] for text in texts], dtype=torch.int32)}


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    monkeypatch.setattr(table_data, "make_reader", lambda input: Lengths())
    frame = pl.DataFrame(
        {"text": ["abc"[: i % 3 + 1] * (i + 1) for i in range(20)], "label": [0, 1] * 10, "domain": ["a", "b"] * 10}
    ).with_columns(label=pl.Series([0, 0, 1, 1] * 5))
    frame.write_parquet(tmp_path / "reviews.parquet")
    return tmp_path / "reviews.parquet"


def test_texts_of_a_column_go_to_the_reader_of_texts(reviews):
    data = make("a", "b", table=str(reviews), text="text")
    assert everything(data.domain("target").test).x["input_ids"].flatten().tolist() == [
        (i % 3 + 1) * (i + 1) for i in range(1, 20, 2)
    ]
    assert data.facts() == {"num_classes": 2}
    rows, names = data.inputs(str(reviews))
    assert len(rows) == len(names) == 20


def test_empty_texts_are_an_error_or_left_out_and_counted(reviews):
    frame = pl.read_parquet(reviews)
    frame.with_columns(text=pl.when(pl.int_range(20) == 5).then(pl.lit("  ")).otherwise("text")).write_parquet(reviews)
    with pytest.raises(ValueError, match="reviews.parquet, b: 1 of 10 texts are empty, in rows 5 .*data.on_bad=skip"):
        make("a", "b", table=str(reviews), text="text").domain("target")
    data = make("a", "b", table=str(reviews), text="text", on_bad="skip")
    assert len(data.domain("target").test) == 9
    assert "b: left out: 1 of 10 texts are empty" in said(data)
    frame.with_columns(text=pl.lit("")).write_parquet(reviews)
    with pytest.raises(ValueError, match="10 of 10 texts are empty"):
        make("a", "b", table=str(reviews), text="text", on_bad="skip").domain("target")
