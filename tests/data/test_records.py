"""Data of any kind: classes by name, splits by hash, leaks, several sources, balanced batches."""

import numpy as np
import pytest
import torch
from conftest import everything
from plain import Plain, numbers, records, two

from da.data.classes import match_classes, natural
from da.data.records import held_out_order, split_rows
from da.types import HIDDEN


def test_classes_are_numbered_by_name_and_whole_numbers_by_value():
    assert natural(["b", "a", "b"]) == ["a", "b"]
    assert natural(["10", "9", "1"]) == ["1", "9", "10"]


def test_labels_of_the_two_domains_agree_though_they_come_in_another_order():
    data = Plain({"one": records(40, "zyx"), "two": records(40, "xzy", first=100)})
    assert data.class_names == ("x", "y", "z")
    source, target = data.domain("source"), data.domain("target")
    for domain, first, order in ((source, 0, "zyx"), (target, 100, "xzy")):
        for x, y in zip(everything(domain.train).x.tolist(), domain.train.y.tolist(), strict=True):
            assert "xyz"[y] == order[(x - first) % 3]


@pytest.mark.parametrize(
    ("target", "label_sets", "only"),
    [
        ("ab", "closed", "only the source has the classes c"),
        ("abcd", "closed", "only the target has the classes d"),
        ("abcd", "partial", "only the target has the classes d"),
        ("ab", "open", "only the source has the classes c"),
        ("abd", "partial", "only the target has the classes d"),
        ("abd", "open", "only the source has the classes c"),
    ],
)
def test_a_class_of_one_side_only_is_named_unless_the_label_sets_allow_it(target, label_sets, only):
    with pytest.raises(ValueError, match=only):
        match_classes("abc", target, label_sets)
    assert match_classes("abc", target, "open_partial") == ["a", "b", "c"]


def test_rows_of_a_class_that_only_an_open_target_has_are_adapted_to_but_not_scored():
    data = Plain({"one": records(40, "ab"), "two": records(60, "abc", first=100)}, label_sets="open")
    target = data.domain("target")
    assert len(target.train) == 60
    assert int((target.test.y == HIDDEN).sum()) == 20
    assert any("20 rows of classes that only it has are not scored: c" in notice for notice in data.notices)


def test_given_classes_set_the_order_and_a_label_outside_of_them_is_named():
    assert two(classes=["b", "a"]).class_names == ("b", "a")
    with pytest.raises(ValueError, match="'one' has the classes b, but those of data are a"):
        two(classes=["a"]).domain("source")
    with pytest.raises(ValueError, match="data.classes names a more than once"):
        two(classes=["a", "a"]).domain("source")


def test_a_target_without_labels_is_adapted_to_and_a_source_without_is_refused():
    data = Plain({"one": records(40), "two": records(40, None, first=100)})
    data.load(frozenset({"source", "target"}))
    assert (data.domain("target").test.y == HIDDEN).all()
    with pytest.raises(ValueError, match="the target has none"):
        data.load(frozenset({"source", "oracle"}))
    with pytest.raises(ValueError, match="the source 'one' has no labels"):
        Plain({"one": records(40, None), "two": records(40)}).domain("source")


def test_held_out_rows_stay_where_they_are_when_others_come():
    before, after = (split_rows(records(n), 0.2, 0.1) for n in (300, 500))
    assert (before == after[:300]).all()
    assert {part: (after == part).mean() for part in ("val", "test")} == pytest.approx(
        {"val": 0.2, "test": 0.1}, abs=4 * (0.2 * 0.8 / 500) ** 0.5
    )


def test_the_hash_of_keys_is_uniform():
    u = held_out_order([str(i) for i in range(4000)])
    assert np.abs(np.sort(u) - (np.arange(4000) + 0.5) / 4000).max() < 1.63 / 4000**0.5  # Kolmogorov, 1 %


def test_rows_of_a_group_are_held_out_together():
    group = [f"person {i // 10}" for i in range(400)]
    split = split_rows(records(400, group=group), 0.3, 0.2)
    assert set(split) == {"train", "val", "test"}
    for person in set(group):
        assert len({part for part, own in zip(split, group, strict=True) if own == person}) == 1


def test_a_split_that_the_data_name_is_kept_and_validation_rows_come_from_its_train_rows():
    given = ["train"] * 80 + ["test"] * 20
    data = Plain({"one": records(100, split=given), "two": records(100, first=1000, split=given)}, val_fraction=0.25)
    source, target = data.domain("source"), data.domain("target")
    assert numbers(source.test) == set(range(80, 100))
    assert numbers(source.train) | numbers(source.val) == set(range(80))
    assert not numbers(source.train) & numbers(source.val)
    assert numbers(target.train) == numbers(target.val) == set(range(1000, 1080))
    assert numbers(target.test) == set(range(1080, 1100))
    with pytest.raises(ValueError, match="there is 'dev'"):
        split_rows(records(2, split=["train", "dev"]), 0, 0)


def test_without_test_rows_the_target_is_scored_on_the_rows_it_is_adapted_to():
    target = two().domain("target")
    assert numbers(target.train) == numbers(target.test) == set(range(1000, 1060))


def test_val_fraction_0_validates_on_the_training_rows():
    source = two(val_fraction=0.0).domain("source")
    assert numbers(source.train) == numbers(source.val) == set(range(40))


def test_a_class_never_loses_its_last_training_row():
    data = Plain({"one": records(60)._replace(labels=["a"] * 59 + ["rare"]), "two": records(60, first=100)},
                 classes=["a", "b", "rare"], val_fraction=0.9)  # fmt: skip
    source = data.domain("source")
    assert 59 in numbers(source.train)
    assert any("class 'rare' has one row only" in notice for notice in data.notices)


def test_rows_scored_that_were_trained_on_are_reported():
    given = ["train"] * 40 + ["test"] * 20
    target = records(60, first=1000, split=given)
    doubled = target._replace(content=np.concatenate([target.content[:55], target.content[:5]]))
    data = Plain({"one": records(40), "two": doubled})
    data.load(frozenset({"source", "target"}))
    assert "leak: 5 of the 20 test rows of two are among its training rows too" in data.notices


def test_rows_of_the_target_that_the_source_trains_on_are_reported_and_equal_domains_refused():
    data = Plain({"one": records(40), "two": records(40, first=30)}, val_fraction=0.0)
    data.load(frozenset({"source", "target"}))
    assert any("10 of the 40 rows that the target two is scored on are training rows" in n for n in data.notices)
    with pytest.raises(ValueError, match="every row of the target 'two' is a training row of the source 'one'"):
        Plain({"one": records(40), "two": records(40)}, val_fraction=0.0).load(frozenset({"source", "target"}))
    with pytest.raises(ValueError, match="'one'.*more than once"):
        two(target="one")


def test_several_sources_are_one_stream_with_equally_many_rows_of_each():
    domains = {"one": records(100), "small": records(12, first=500), "two": records(60, first=1000)}
    data = Plain(domains, source=["one", "small"], val_fraction=0.0, steps_per_epoch=50)
    data.load(frozenset({"source", "target"}))
    assert data.names() == {"source": "one+small", "target": "two"}
    counts, seen = torch.zeros(3, dtype=torch.long), set()
    for batch, _, _ in data.train_dataloader():
        rows = batch["source"]
        assert rows.domain.bincount(minlength=2).tolist() == [4, 4]
        assert ((rows.x >= 500) == (rows.domain == 1)).all()
        seen |= set(rows.x.tolist())
        counts += rows.domain.bincount(minlength=3)
    assert seen == set(range(100)) | set(range(500, 512))


def test_rows_of_several_sources_come_as_they_are_when_no_balance_is_asked_for():
    domains = {"one": records(100), "small": records(12, first=500), "two": records(60, first=1000)}
    data = Plain(domains, source=["one", "small"], val_fraction=0.0, steps_per_epoch=14, balance={"source": "none"})
    data.load(frozenset({"source", "target"}))
    rows = torch.cat([batch["source"].domain for batch, _, _ in data.train_dataloader()])
    assert rows.bincount().tolist() == [100, 12]  # one pass


def test_a_source_balanced_by_class_repeats_the_rare_class():
    rare = records(60)._replace(labels=["a"] * 57 + ["b"] * 3)
    data = Plain({"one": rare, "two": records(60, first=1000)}, val_fraction=0.0, balance={"source": "class"})
    data.load(frozenset({"source", "target"}))
    for batch, _, _ in data.train_dataloader():
        assert batch["source"].y.bincount().tolist() == [4, 4]
    hidden = two(balance={"target": "class"})
    hidden.load(frozenset({"source", "target"}))
    with pytest.raises(ValueError, match="data.balance.target=class, but the labels of stream 'target' are hidden"):
        hidden.train_dataloader()


@pytest.mark.parametrize(
    ("policy", "steps"), [("max", 12), ("min", 5), ("source", 5), ("target", 12), (None, 12), (3, 3)]
)
def test_the_length_of_an_epoch_goes_by_the_stream_that_is_named(policy, steps):
    data = two(40, 96, steps_per_epoch=policy, val_fraction=0.0)
    data.load(frozenset({"source", "target"}))
    assert len(list(data.train_dataloader())) == steps


def test_features_take_the_place_of_rows_and_are_asked_for_once_a_domain():
    data, asked = two(), []

    def encode(rows, sha256):
        asked.append(sha256)
        return torch.stack([everything(rows).x.float()] * 3, dim=1)

    data.encode = encode
    assert everything(data.domain("source").train).x.shape == (len(data.domain("source").train), 3)
    assert numbers_of(data.domain("target").test) == set(range(1000, 1060))
    assert asked == [data.records("one").sha256, data.records("two").sha256]


def numbers_of(rows):
    return set(everything(rows).x[:, 2].int().tolist())


def test_new_rows_need_no_more_than_the_state():
    data = two(classes=None)
    state = data.domain("source") and data.state()
    other = Plain({}, source="one", target="two")
    other.restore(state)
    assert other.class_names == ("a", "b")
    assert other.opened == []
