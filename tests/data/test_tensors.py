"""Arrays of a user's own: what is read of them, and how their numbers are scaled."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from conftest import config
from safetensors.torch import save_file
from torch.testing import assert_close

from da.assemble import assemble
from da.data.rows import Draw
from da.data.scaling import Scale, statistics
from da.data.tensors import Tensors
from da.types import HIDDEN

STREAMS = frozenset({"source", "target"})
IMAGES = {"channels": 1, "size": 8}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(3.0, 5.0, shape)


def save(path, n=40, d=3, seed=0, **arrays):
    np.savez(path, **({"x": numbers(n, d, seed=seed), "y": np.arange(n) % 2} | arrays))
    return str(path)


def make(source, target, **settings):
    return Tensors(source, target, **{"batch_size": {"source": 4, "target": 4}, "val_fraction": 0.0} | settings)


@pytest.fixture
def two(tmp_path):
    return save(tmp_path / "a.npz"), save(tmp_path / "b.npz", n=30, seed=1)


def all_x(rows):
    return rows[Draw(torch.arange(len(rows)), 0)].x


def said(data):
    return " | ".join(data.notices)


def scaled(x, by, axis=0):
    mean, std = by.mean(axis=axis, keepdims=True), by.std(axis=axis, keepdims=True)
    return torch.from_numpy((x - mean) / std).float()


# ---------------------------------------------------------------- scale


def test_both_domains_are_scaled_by_the_sources_training_rows(tmp_path):
    a, b = ({f"x_{part}": numbers(n, 3, seed=n + s) for part, n in (("train", 20), ("test", 9))} for s in (0, 100))
    labels = {"y_train": np.arange(20) % 2, "y_test": np.arange(9) % 2}
    for name, x in (("a", a), ("b", b)):
        np.savez(tmp_path / f"{name}.npz", **x, **labels)
    data = make(str(tmp_path / "a.npz"), str(tmp_path / "b.npz"))
    for role, x in (("source", a), ("target", b)):
        domain = data.domain(role)
        assert_close(all_x(domain.train), scaled(x["x_train"], by=a["x_train"]))
        assert_close(all_x(domain.test), scaled(x["x_test"], by=a["x_train"]))


def test_rows_held_out_of_the_source_tell_nothing_of_the_scale(two):
    data = make(*two, val_fraction=0.5)
    source = data.domain("source")
    x = np.load(two[0])["x"]
    kept = data.split(two[0], "source")[0] == "train"
    assert 5 < kept.sum() < 35
    assert_close(all_x(source.train), scaled(x[kept], by=x[kept]))
    assert_close(all_x(source.val), scaled(x[~kept], by=x[kept]))


def test_each_domain_may_be_scaled_by_its_own_rows_and_then_differs_no_more_in_mean_and_deviation(two):
    data = make(*two, standardise="each")
    for role, file in zip(("source", "target"), two, strict=True):
        x = np.load(file)["x"]
        assert_close(all_x(data.domain(role).train), scaled(x, by=x))
        assert_close(all_x(data.domain(role).train).std(0, unbiased=False), torch.ones(3))


def test_without_standardisation_the_numbers_are_those_of_the_file(two):
    data = make(*two, standardise="none")
    assert_close(all_x(data.domain("target").test), torch.from_numpy(np.load(two[1])["x"]).float(), rtol=0, atol=0)


def test_several_sources_have_one_scale_that_of_all_their_rows(tmp_path, two):
    third = save(tmp_path / "c.npz", n=10, seed=2)
    data = make([two[0], third], two[1])
    pooled = np.concatenate([np.load(file)["x"] for file in (two[0], third)])
    assert_close(all_x(data.domain("source").train), scaled(pooled, by=pooled))
    assert_close(all_x(data.domain("target").train), scaled(np.load(two[1])["x"], by=pooled))


def test_a_series_is_scaled_by_channel(tmp_path):
    x = numbers(20, 2, 16)
    a = save(tmp_path / "a.npz", x=x, n=20)
    b = save(tmp_path / "b.npz", x=x[:10] + 1, n=10)
    data = make(a, b)
    assert_close(all_x(data.domain("source").train), scaled(x, by=x, axis=(0, 2)))
    assert data.facts() == {"num_classes": 2, "num_channels": 2, "length": 16}


def test_a_constant_feature_becomes_zero_and_is_named(tmp_path):
    x = numbers(30, 3)
    x[:, 1] = 0.1  # the mean of thirty of them is not 0.1
    data = make(save(tmp_path / "a.npz", n=30, x=x), save(tmp_path / "b.npz"))
    assert (all_x(data.domain("source").train)[:, 1] == 0).all()
    assert "1 constant in the training rows: feature 1" in said(data)


def test_large_numbers_keep_their_differences(tmp_path):
    time = 1_700_000_000 + np.arange(40)[:, None]  # float32 has steps of 128 there
    data = make(save(tmp_path / "a.npz", x=time), save(tmp_path / "b.npz", x=time[::-1] + 5))
    assert_close(all_x(data.domain("source").train), scaled(time, by=time))


def test_statistics_leave_out_what_is_not_finite():
    x = torch.tensor([[1.0, 4.0], [torch.nan, 4.0], [3.0, -torch.inf], [100.0, 100.0]])
    found = statistics([(x, torch.tensor([0, 1, 2]))])
    assert_close(found.mean, torch.tensor([2.0, 4.0], dtype=torch.float64))
    assert_close(found.std, torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert found.constant.tolist() == [False, True]


def test_only_the_numbers_of_a_mapping_are_scaled():
    x = {"numeric": torch.tensor([[4.0]]), "categorical": torch.tensor([[4]])}
    scaled = Scale((2.0,), (4.0,))(x, Draw(torch.arange(1), 0))
    assert scaled["numeric"].item() == 0.5
    assert scaled["categorical"].item() == 4


# ---------------------------------------------------------------- gaps


@pytest.fixture
def gaps(tmp_path, two):
    x = numbers(20, 3, seed=5)
    x[3, 1], x[7, 1], x[7, 2] = np.nan, np.inf, np.nan
    return two[0], save(tmp_path / "gaps.npz", n=20, x=x), x


def test_gaps_are_counted_and_named(gaps):
    message = r"gaps.npz: 3 numbers are missing, NaN or infinite: feature 1, feature 2 in rows 3, 7 \(counted from 0\)"
    with pytest.raises(ValueError, match=message):
        make(*gaps[:2]).domain("target")


def test_rows_with_gaps_are_left_out_when_asked(gaps):
    data = make(*gaps[:2], on_nan="drop", standardise="none")
    kept = [i for i in range(20) if i not in (3, 7)]
    assert_close(all_x(data.domain("target").test), torch.from_numpy(gaps[2][kept]).float())
    assert data.domain("target").test.y.tolist() == [i % 2 for i in kept]
    assert "2 rows left out: 3 numbers" in said(data)
    assert data.records(gaps[1]).keys == [str(i) for i in kept]


@pytest.mark.parametrize("standardise", ["source", "each", "none"])
def test_the_mean_stands_in_for_a_gap(gaps, standardise):
    data = make(*gaps[:2], on_nan="mean", standardise=standardise)
    x = all_x(data.domain("target").test)
    own = np.ma.masked_invalid(gaps[2])
    mean = own.mean(axis=0).data if standardise == "each" else np.load(gaps[0])["x"].mean(axis=0)
    expected = torch.from_numpy(mean).float() if standardise == "none" else torch.zeros(3)
    for row, feature in ((3, 1), (7, 1), (7, 2)):
        assert_close(x[row, feature], expected[feature], atol=1e-6, rtol=1e-6)
    assert x.isfinite().all()
    assert "the mean stands in their place" in said(data)


def test_a_gap_in_a_series_is_in_a_channel(tmp_path):
    x = numbers(10, 2, 5)
    x[4, 1, 2:] = np.nan
    a = save(tmp_path / "a.npz", n=10, x=numbers(10, 2, 5, seed=1))
    b = save(tmp_path / "b.npz", n=10, x=x)
    with pytest.raises(ValueError, match="3 numbers are missing, NaN or infinite: feature 1 in rows 4 "):
        make(a, b).domain("target")
    assert len(make(a, b, on_nan="drop").domain("target").train) == 9


def test_what_would_leave_nothing_is_an_error(tmp_path, two):
    nothing = save(tmp_path / "n.npz", n=8, x=np.full((8, 3), np.nan))
    with pytest.raises(ValueError, match="That is every row: data.on_nan=drop would leave none"):
        make(two[0], nothing, on_nan="drop").domain("target")
    x = numbers(8, 3)
    x[:, 2] = np.nan
    source = save(tmp_path / "s.npz", n=8, x=x)
    with pytest.raises(ValueError, match="s: there is no number at all in feature 2"):
        make(source, two[1], on_nan="mean").domain("target")


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (np.array(["ill", "well"] * 20), ("ill", "well")),
        (np.array([b"ill", b"well"] * 20), ("ill", "well")),
        (np.arange(40) % 3 + 9, ("9", "10", "11")),
        (np.array([-1.0, 1.0] * 20), ("-1", "1")),
        (np.array([True, False] * 20), ("false", "true")),
    ],
)
def test_classes_are_names_or_whole_numbers(tmp_path, y, names):
    data = make(save(tmp_path / "a.npz", y=y), save(tmp_path / "b.npz", y=y[::-1], seed=1))
    assert data.class_names == names
    labels = [str(v.item().decode() if isinstance(v.item(), bytes) else v.item()).lower() for v in y]
    shown = [names[c] for c in data.domain("source").train.y.tolist()]
    assert shown == [label.removesuffix(".0") for label in labels]


def test_a_target_may_have_no_labels_or_some(tmp_path, two):
    y = np.where(np.arange(30) < 10, np.arange(30) % 2, np.nan)
    some = make(two[0], save(tmp_path / "some.npz", n=30, seed=3, y=y))
    assert some.domain("target").test.y.tolist() == [i % 2 if i < 10 else HIDDEN for i in range(30)]
    np.savez(tmp_path / "none.npz", x=numbers(30, 3, seed=3))
    for settings in ({}, {"classes": ["0", "1"]}):
        none = make(two[0], str(tmp_path / "none.npz"), **settings)
        none.load(STREAMS)
        assert (none.domain("target").test.y == HIDDEN).all()
    empty = make(two[0], save(tmp_path / "empty.npz", n=30, y=np.full(30, np.nan)))
    assert (empty.domain("target").test.y == HIDDEN).all()


def test_a_source_without_a_label_is_an_error_that_names_the_rows(tmp_path, two):
    y = np.where(np.arange(40) % 20 == 3, np.nan, 1.0)
    with pytest.raises(ValueError, match="the source has no label in rows 3, 23"):
        make(save(tmp_path / "s.npz", y=y), two[1]).domain("source")
    np.savez(tmp_path / "x.npz", x=numbers(30, 3))
    with pytest.raises(ValueError, match="x.npz' has no labels"):
        make(str(tmp_path / "x.npz"), two[1]).domain("source")


def test_a_class_of_one_side_only_is_named(tmp_path, two):
    with pytest.raises(ValueError, match="only the target has the classes 2"):
        make(two[0], save(tmp_path / "c.npz", y=np.arange(40) % 3)).facts()


# ---------------------------------------------------------------- files


def test_the_target_is_scored_on_the_test_part_of_its_file(tmp_path, two):
    parts = {"x_train": numbers(20, 3), "x_val": numbers(6, 3), "x_test": numbers(8, 3, seed=9), "y_test": [0, 1] * 4}
    np.savez(tmp_path / "t.npz", **parts)
    data = make(two[0], str(tmp_path / "t.npz"), standardise="none")
    target = data.domain("target")
    assert len(target.train) == 26
    assert_close(all_x(target.test), torch.from_numpy(parts["x_test"]).float())
    assert target.test.y.tolist() == [0, 1] * 4
    assert data.records(str(tmp_path / "t.npz")).keys[19:21] == ["train/19", "val/0"]


def test_all_three_kinds_of_files_hold_the_same_rows(tmp_path, two):
    x, y = numbers(30, 3, seed=1), np.arange(30) % 2
    save_file({"x": torch.from_numpy(x), "y": torch.from_numpy(y)}, tmp_path / "b.safetensors")
    pl.DataFrame({"x": x.tolist(), "y": y}).write_parquet(tmp_path / "lists.parquet")
    pl.DataFrame({"x": pl.Series(x, dtype=pl.Array(pl.Float64, 3)), "y": y}).write_parquet(tmp_path / "array.parquet")
    expected = all_x(make(*two).domain("target").test)
    for name in ("b.safetensors", "lists.parquet", "array.parquet"):
        target = make(two[0], str(tmp_path / name)).domain("target")
        assert_close(all_x(target.test), expected, rtol=0, atol=0)
        assert target.test.y.tolist() == y.tolist()


def test_a_parquet_file_may_have_series_as_lists_of_lists(tmp_path):
    x = numbers(12, 2, 4)
    for name in "ab":
        rows = {
            "x": (x + (name == "b")).tolist(),
            "y": [str(i % 2) for i in range(12)],
            "group": [i // 3 for i in range(12)],
        }
        pl.DataFrame(rows).write_parquet(tmp_path / f"{name}.parquet")
    data = make(str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"), standardise="none")
    assert_close(all_x(data.domain("source").train), torch.from_numpy(x).float())
    assert data.records(data.target).group == [str(i // 3) for i in range(12)]


def test_columns_of_a_parquet_file_are_matched_by_name(tmp_path):
    frame = pl.DataFrame({"b": [1.0, 2.0] * 8, "a": [5, 7] * 8, "y": ["u", "v"] * 8})
    frame.write_parquet(tmp_path / "s.parquet")
    frame.select("y", "a", pl.col("b") + 1).write_parquet(tmp_path / "t.parquet")
    data = make(*(str(tmp_path / f"{name}.parquet") for name in "st"), standardise="none")
    assert all_x(data.domain("source").train)[:2].tolist() == [[5, 1], [7, 2]]
    assert all_x(data.domain("target").train)[:2].tolist() == [[5, 2], [7, 3]]
    frame.rename({"a": "c"}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="only one of them has a, c"):
        make(*(str(tmp_path / f"{name}.parquet") for name in "st")).facts()
    frame.with_columns(word=pl.lit("x")).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(
        ValueError, match="t.parquet: the columns word are no numbers; data=csv data.source=.*reads text"
    ):
        make(*(str(tmp_path / f"{name}.parquet") for name in "st")).domain("target")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": [1.0]}, "has the arrays z, but no x: call the rows x"),
        ({"x": numbers(4, 2), "x_train": numbers(4, 2)}, "has x and x_train too"),
        ({"x_test": numbers(4, 2)}, "but no x"),
        ({"x": numbers(4, 2), "y_test": [1] * 4}, "has y_test, but no x of that name; it has x"),
        ({"x": numbers(4, 2), "y": [0, 1]}, r"y is \[2\], expected \[4\] as x"),
        ({"x": numbers(4, 2), "y": numbers(4, 2)}, r"y is \[4, 2\], expected \[4\]"),
        ({"x_train": numbers(4, 2), "x_test": numbers(4, 3)}, r"x_test is \[4, 3\], but x_train is \[4, 2\]"),
        ({"x": numbers(4)}, r"x is \[4\] of type float64, expected rows"),
        ({"x": np.array([["a"]] * 4)}, "of type <U1, expected rows of numbers"),
        ({"x": numbers(0, 2)}, r"x is \[0, 2\]: there is nothing in it"),
        ({"x": numbers(4, 2), "y": [0.1, 0.2, 0.3, 1.0]}, "3 labels are fractions, such as 0.1"),
        ({"x": numbers(300, 2), "y": np.arange(300)}, "300 different numbers in 300 rows: these are no classes"),
        ({"x": np.array([{}], dtype=object)}, "can't read .*Object arrays cannot be loaded"),
        ({"x": numbers(4, 7)}, r"a row of x is \[7\] in bad.npz, but \[3\] in a.npz: they must be alike"),
        ({"x": numbers(4, 2, 2, 2)}, r"x is \[4, 2, 2, 2\], but the network reads series. There are vectors"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, two, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        make(two[0], str(tmp_path / "bad.npz")).facts()


def test_files_that_cannot_be_read_are_named(tmp_path, two):
    for suffix, message in ((".npz", "no archive of arrays"), (".safetensors", "header"), (".parquet", "PAR1")):
        file = tmp_path / f"bad{suffix}"
        file.write_bytes(b"not what it says it is, by far")
        with pytest.raises(ValueError, match=f"can't read {file}: .*{message}"):
            make(two[0], str(file)).domain("target")
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="can't read .*cut.npz"):
        make(two[0], str(tmp_path / "cut.npz")).domain("target")
    with pytest.raises(FileNotFoundError, match="there is no file .*none.npz"):
        make(two[0], str(tmp_path / "none.npz")).domain("target")
    with pytest.raises(ValueError, match="a.txt is no .npz, .safetensors, .parquet file"):
        make(two[0], "a.txt").domain("target")
    pl.DataFrame({"x": [[1.0], [1.0, 2.0]]}).write_parquet(tmp_path / "ragged.parquet")
    with pytest.raises(ValueError, match="the lists of column x differ in length"):
        make(two[0], str(tmp_path / "ragged.parquet")).domain("target")


def test_arrays_that_nobody_reads_are_named(tmp_path, two):
    data = make(two[0], save(tmp_path / "more.npz", subject=np.arange(40)))
    data.domain("target")
    assert "more: arrays that are not read: subject" in said(data)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "street").mkdir()
    data = make(save(tmp_path / "shop/x.npz"), save(tmp_path / "street/x.npz", seed=1))
    data.load(STREAMS)
    assert len(data.hashes()) == 2
    assert make("a/one.npz", "b/two.npz").names() == {"source": "one", "target": "two"}


def test_another_label_is_another_file_to_the_records(tmp_path, two):
    changed = save(tmp_path / "b2.npz", n=30, seed=1, y=1 - np.arange(30) % 2)
    hashes = [make(two[0], file).records(file).sha256 for file in (two[1], changed)]
    assert hashes[0] != hashes[1]


# ---------------------------------------------------------------- images


def bytes_of(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_images_are_scaled_by_the_network_and_may_have_their_channels_first_or_last(tmp_path):
    last = bytes_of(12, 8, 8, 3)
    a = save(tmp_path / "a.npz", n=12, x=last)
    b = save(tmp_path / "b.npz", n=12, x=last.transpose(0, 3, 1, 2))
    source = make(a, save(tmp_path / "c.npz", n=12, x=255 - last), input={"channels": 3, "size": 8}).domain("source")
    target = make(save(tmp_path / "c.npz", n=12, x=255 - last), b, input={"channels": 3, "size": 8}).domain("target")
    expected = (torch.from_numpy(last).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    assert_close(all_x(source.train), expected)
    assert_close(all_x(target.test), expected)


def test_mean_and_deviation_of_images_may_differ_by_channel(tmp_path):
    a, b = save(tmp_path / "a.npz", n=9, x=bytes_of(9, 3, 8, 8)), save(tmp_path / "b.npz", n=9, x=bytes_of(9, 8, 8))
    data = make(a, b, input={"channels": 3, "size": 8, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]})
    x = torch.from_numpy(bytes_of(9, 3, 8, 8)).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
    assert_close(all_x(data.domain("source").train), (x - mean) / std)
    assert all_x(data.domain("target").train).shape == (9, 3, 8, 8)  # grey, in all channels
    assert data.facts() == {"num_classes": 2}
    assert "scale" not in data.state()


def test_images_are_resized_once_when_they_are_read(tmp_path):
    a = save(tmp_path / "a.npz", n=9, x=bytes_of(9, 16, 16))
    b = save(tmp_path / "b.npz", n=9, x=255 - bytes_of(9, 16, 16, 1))
    data = make(a, b, input=IMAGES)
    assert data.records(a).x.shape == data.records(b).x.shape == (9, 8, 8)
    assert data.records(a).x.dtype == torch.uint8
    assert all_x(data.domain("target").test).shape == (9, 1, 8, 8)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (numbers(9, 8, 8), "x is of type torch.float64, but images are bytes: uint8, from 0 to 255"),
        (bytes_of(9, 64), r"x is \[9, 64\], but the network reads images"),
        (bytes_of(9, 4, 8, 8), r"x is \[9, 4, 8, 8\]: there are no channels. Images are \[n, h, w, c\]"),
        (bytes_of(9, 3, 8, 3), "either the second or the last number may be that of the channels"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, x, message):
    with pytest.raises(ValueError, match=message):
        make(save(tmp_path / "a.npz", n=9, x=x), save(tmp_path / "b.npz", n=9, x=x), input=IMAGES).domain("source")


# ---------------------------------------------------------------- in a run


def test_rows_of_one_group_stay_together(tmp_path):
    person = np.arange(300) // 10
    a, b = (save(tmp_path / f"{name}.npz", n=300, seed=i, group=person) for i, name in enumerate("ab"))
    data = make(a, b, val_fraction=0.3, test_fraction=0.2)
    for name in (a, b):
        split, _ = data.split(name, "source" if name == data.sources[0] else "target")
        assert len(set(split)) > 1
        for number in range(30):
            assert len(set(split[person == number])) == 1


def test_leaks_are_told(tmp_path, two):
    x = np.load(two[0])["x"]
    with pytest.raises(ValueError, match="every row of the target .* is a training row of the source"):
        make(two[0], save(tmp_path / "copy.npz", n=10, x=x[:10])).load(STREAMS)
    some = make(two[0], save(tmp_path / "some.npz", n=30, x=np.concatenate([x[:3], numbers(27, 3, seed=8)])))
    some.load(STREAMS)
    assert f"leak: 3 of the 30 rows that the target {some.target} is scored on are training rows" in said(some)


@pytest.mark.parametrize(
    ("net", "shape", "facts"),
    [
        ("mlp", (40, 5), {"num_features": 5}),
        ("cnn1d", (40, 3, 32), {"num_channels": 3, "length": 32}),
        ("lenet", (40, 20, 20), {}),
    ],
)
def test_the_config_of_the_network_is_completed_from_the_files(tmp_path, net, shape, facts):
    x = numbers(*shape) if net != "lenet" else bytes_of(*shape)
    a, b = save(tmp_path / "a.npz", x=x), save(tmp_path / "b.npz", x=x[::-1] + 1)
    cfg = config("data=tensors", f"net={net}", f"data.source={a}", f"data.target={b}")
    data, network = assemble(cfg)
    assert {key: cfg.data[key] for key in facts} == facts
    data.load(STREAMS)
    batch = next(iter(data.train_dataloader()))[0]
    assert (batch["target"].y == HIDDEN).all()
    z, logits = network(batch["source"].x)
    assert z.shape == (32, cfg.net.feature_dim)
    assert logits.shape == (32, 2)


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        ("mlp", (40, 3, 8), "the network reads vectors"),
        ("cnn1d", (40, 5), "the network reads series"),
        ("logmel", (40, 5), r"net.input has 'rate': this network reads files \(data=folder\)"),
    ],
)
def test_a_network_that_reads_something_else_is_named(tmp_path, net, shape, message):
    a, b = save(tmp_path / "a.npz", x=numbers(*shape)), save(tmp_path / "b.npz", x=numbers(*shape, seed=1))
    with pytest.raises(ValueError, match=message):
        assemble(config("data=tensors", f"net={net}", f"data.source={a}", f"data.target={b}"))


def test_a_given_fact_must_be_true(two):
    with pytest.raises(ValueError, match="data.num_features=7, but x in a.npz has 3"):
        make(*two, num_features=7).domain("source")
    assert make(*two, num_features=3).facts()["num_features"] == 3


@pytest.mark.parametrize("settings", [{}, {"standardise": "each"}, {"standardise": "none", "on_nan": "mean"}])
def test_new_rows_are_read_as_the_targets_without_the_training_files(tmp_path, gaps, settings):
    settings = {"on_nan": "drop"} | settings
    trained = make(*gaps[:2], **settings)
    state = json.loads(json.dumps(trained.state()))
    new = make("gone.npz", "gone_too.npz", **settings)
    new.restore(state)
    rows, names = new.inputs(gaps[1])
    assert_close(all_x(rows), all_x(trained.domain("target").test), rtol=0, atol=0)
    assert (rows.y == HIDDEN).all()
    assert names == list(trained.records(gaps[1]).keys)
    assert new.class_names == trained.class_names
    other = save(tmp_path / "other.npz", d=4)
    with pytest.raises(ValueError, match=r"\[4\] in other.npz, but \[3\] in the data that were trained on"):
        new.inputs(other)
