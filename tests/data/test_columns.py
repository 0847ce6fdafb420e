"""Columns of tables as names, numbers and categories."""

import datetime
import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from torch.testing import assert_close

from da.data.columns import Columns, describe, find_columns, label_names, names_of, text_hashes


def test_a_name_is_what_a_person_would_write():
    assert names_of(pl.Series([1.0, math.nan, 3.0, None])) == ["1", "", "3", ""]
    assert names_of(pl.Series([1.5, 2.0])) == ["1.5", "2.0"]
    assert names_of(pl.Series([1, None, -2])) == ["1", "", "-2"]
    assert names_of(pl.Series([True, None])) == ["true", ""]
    assert names_of(pl.Series(["a", None, ""])) == ["a", "", ""]
    assert names_of(pl.Series([1e300])) == [str(pl.Series([1e300]).cast(pl.String)[0])]


def test_labels_are_names_or_whole_numbers():
    assert label_names(pl.Series([0.0, 1.0, None]), "t") == ["0", "1", ""]
    assert label_names(pl.Series(["ill", None], dtype=pl.Categorical), "t") == ["ill", ""]
    with pytest.raises(ValueError, match="t: 2 labels are fractions, such as 0.25: classes are names or whole numbers"):
        label_names(pl.Series([0.25, 1.0, 1.75]), "t")
    with pytest.raises(ValueError, match="t: the labels are of type Date"):
        label_names(pl.Series([datetime.date(2020, 1, 1)]), "t")
    with pytest.raises(ValueError, match="t: the labels are 150 different numbers in 200 rows"):
        label_names(pl.Series([i % 150 for i in range(200)]), "t")
    assert len(set(label_names(pl.Series([i % 150 for i in range(600)]), "t"))) == 150


def test_text_hashes_are_those_of_the_text_alone():
    first, second = text_hashes(["a", "b"]), text_hashes(["b", "c", "a", "a"])
    assert first.dtype == np.uint64
    assert [first[1], first[0], first[0]] == second[[0, 2, 3]].tolist()
    assert second[1] not in first


def table(**columns):
    return pl.DataFrame(columns)


def test_columns_are_what_they_look_like_in_the_order_of_the_first_table():
    tables = {
        "a": table(sex=["m", "f"], age=[1, 2], smokes=[True, False], ward=["x", "y"]),
        "b": table(age=[1.5, None], ward=["z", "x"], sex=["f", "f"], smokes=[None, None]),
    }
    columns = find_columns(tables)
    assert columns.numeric == ("age", "smokes")
    assert columns.categories == {"sex": ("f", "m"), "ward": ("x", "y", "z")}
    assert columns.cardinalities == [3, 4]
    assert_close(
        columns.numbers(tables["b"], "b"),
        torch.tensor([[1.5, math.nan], [math.nan, math.nan]], dtype=torch.float64),
        equal_nan=True,
    )
    assert columns.numbers(tables["a"], "a").tolist() == [[1, 1], [2, 0]]
    assert columns.codes(tables["a"]).tolist() == [[2, 1], [1, 2]]
    assert columns.codes(tables["b"]).tolist() == [[1, 3], [1, 1]]


def test_an_unknown_category_is_code_zero_and_a_missing_one_a_value_if_there_were_some():
    columns = find_columns({"a": table(ward=["x", "y"], sex=["m", None])})
    new = table(ward=["y", "q"], sex=[None, "?"])
    assert columns.codes(new).tolist() == [[2, 1], [0, 0]]
    assert columns.codes(table(ward=[None], sex=["m"])).tolist() == [[0, 2]]


def test_an_option_says_what_a_column_is_whatever_it_looks_like():
    tables = {"a": table(code=[10, 2, 10], grade=["1", "2", None])}
    columns = find_columns(tables, numeric=["grade"], categorical=["code"])
    assert columns.categories == {"code": ("2", "10")}
    assert columns.numbers(tables["a"], "a")[:2].tolist() == [[1], [2]]
    assert find_columns(tables).categories == {"grade": ("", "1", "2")}


def test_columns_survive_json():
    columns = find_columns({"a": table(age=[1.0], ward=["x"])})
    assert Columns.restored(json.loads(json.dumps(columns.state()))) == columns


def test_a_column_that_is_empty_in_one_domain_is_what_it_is_in_the_other():
    empty = pl.Series([None, None], dtype=pl.String)
    columns = find_columns({"a": table(age=empty, ward=empty), "b": table(age=[1, 2], ward=["x", "y"])})
    assert columns.numeric == ("age",)
    assert columns.categories == {"ward": ("", "x", "y")}
    assert columns.numbers(table(age=empty), "a").isnan().all()


@pytest.mark.parametrize(
    ("tables", "options", "message"),
    [
        ({"a": table(x=[1], y=[1]), "b": table(x=[1])}, {}, "a has the columns y, and b has not: name them alike"),
        ({"a": table(x=[1]), "b": table(x=[1], y=[1])}, {}, "b has the columns y, and a has not: name them alike"),
        ({"a": table(x=[1])}, {"numeric": ["z"]}, "data.numeric names z, but the features are x"),
        ({"a": table(x=[1])}, {"categorical": ["z"]}, "data.categorical names z, but the features are x"),
        ({"a": table(x=[1])}, {"categorical": ["x"], "numeric": ["x"]}, "both name x"),
        ({"a": table()}, {}, "a has no column of features"),
        ({"a": table(x=[datetime.date(2020, 1, 1)])}, {}, r"a: column 'x' is of type Date, .*data.ignore=\[x\]"),
        ({"a": table(x=[[1.0]])}, {}, r"a: column 'x' is of type List\(Float64\), neither numbers nor text"),
        (
            {"a": table(x=[1, 2]), "b": table(x=["3", "old"])},
            {},
            r"'x' holds numbers in a, but text in b, such as 'old'. If 'old' means .*data.null_values=\[old\]",
        ),
        (
            {"a": table(x=["1", "2", "3", "NA"])},
            {},
            r"a: column 'x' holds numbers, but also NA. If 'NA' means .*null_values=\[NA\]\); .*data.categorical=\[x\]",
        ),
        ({"a": table(x=["1", "2", "3", "nan"])}, {}, "a: column 'x' holds numbers, but also nan."),
    ],
)
def test_columns_that_do_not_fit_are_named(tables, options, message):
    with pytest.raises(ValueError, match=message):
        find_columns(tables, **options)


def test_text_among_the_numbers_of_a_column_is_named():
    with pytest.raises(ValueError, match="a: column 'x' should hold numbers, but holds one, two. If 'one' means"):
        find_columns({"a": table(x=["1", "one", "two"])}, numeric=["x"]).numbers(table(x=["1", "one", "two"]), "a")
    with pytest.raises(ValueError, match="b: column 'x' is of type Date, but should hold numbers"):
        find_columns({"a": table(x=[1])}).numbers(table(x=[datetime.date(2020, 1, 1)]), "b")


def test_what_rows_hold_does_not_depend_on_the_values_of_other_tables():
    own = table(age=[1.0, 2.0], ward=["x", "y"])
    alone = find_columns({"a": own})
    among = find_columns({"a": own, "b": table(age=[1.0], ward=["a"])})
    assert alone.codes(own).tolist() != among.codes(own).tolist()
    for one, other in zip(*(c.hashable(own, c.numbers(own, "a")) for c in (alone, among)), strict=True):
        assert (one == other).all()


def test_the_user_is_told_what_the_features_are():
    tables = {"a": table(age=[1] * 60, name=[f"n{i}" for i in range(60)], ward=["x", None] * 30)}
    assert describe(find_columns(tables), tables) == [
        "1 features are numbers: age",
        "2 features are categories: name, ward",
        "column 'name' has 60 values in 60 rows: data.ignore=[name] leaves it out",
        "column 'ward' is empty in 30 rows: this is a value of its own",
    ]
    many = {"a": pl.DataFrame({f"f{i:02}": [1] for i in range(25)})}
    assert describe(find_columns(many), many)[0].endswith("f19 and 5 more")
