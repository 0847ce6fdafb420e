"""Domains with classes of their own, and one domain as source and target."""

import pytest
import torch
from conftest import everything
from plain import Plain, numbers, records, two

from da.types import HIDDEN


def apart(**settings):
    """A source of classes a and b, a target of classes p, q and r."""
    return Plain({"one": records(40), "two": records(60, "pqr", first=1000)}, label_sets="separate", **settings)


def test_each_domain_numbers_its_own_classes_from_0():
    data = apart()
    assert data.classes_of("source") == ("a", "b")
    assert data.classes_of("target") == ("p", "q", "r")
    assert (data.num_classes_of("source"), data.num_classes_of("target")) == (2, 3)
    for role, order, first in (("source", "ab", 0), ("target", "pqr", 1000)):
        rows = data.domain(role).train
        for x, y in zip(everything(rows).x.tolist(), rows.y.tolist(), strict=True):
            assert data.classes_of(role)[y] == order[(x - first) % len(order)]


def test_the_few_labelled_rows_are_of_every_class_of_the_target():
    rows = apart(labels_per_class=2).train_set("labeled")
    assert sorted(rows.y.tolist()) == [0, 0, 1, 1, 2, 2]
    assert (apart().train_set("target").y == HIDDEN).all()


def test_rows_of_other_classes_are_left_out_and_told_of():
    data = apart(classes=["b"], target_classes=["r", "p"])
    assert {x % 2 for x in numbers(data.domain("source").train)} == {1}
    assert {(x - 1000) % 3 for x in numbers(data.domain("target").train)} == {0, 2}
    assert data.domain("target").train.y.tolist()[:2] == [1, 0]  # p stands behind r
    assert "one: 20 rows of classes that are not among the source's are left out" in data.notices
    assert "two: 20 rows of classes that are not among the target's are left out" in data.notices


def test_one_domain_is_both_if_its_classes_are_shared_out():
    halves = {"classes": ["a", "b"], "target_classes": ["c", "d"], "label_sets": "separate"}
    data = Plain({"one": records(80, "abcd")}, source="one", target="one", val_fraction=0.2, **halves)
    data.load(frozenset({"source", "target"}))
    source, target = data.domain("source"), data.domain("target")
    ours = numbers(source.train) | numbers(source.val)
    assert numbers(source.train).isdisjoint(numbers(source.val))
    assert ours == {x for x in range(80) if x % 4 < 2}
    assert numbers(target.train) == {x for x in range(80) if x % 4 >= 2}
    assert torch.equal(source.train.domains.unique(), torch.tensor([0]))
    assert torch.equal(target.train.domains.unique(), torch.tensor([1]))
    assert not [notice for notice in data.notices if "leak" in notice]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["a"]}, "data.classes and data.target_classes must say which"),
        ({"classes": ["a", "b"], "target_classes": ["b", "c"]}, "with none in common"),
        ({"classes": ["a"], "target_classes": ["b"], "label_sets": "closed"}, r"name \['one'\] more than once"),
    ],
)
def test_one_domain_whose_classes_are_not_shared_out_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Plain({"one": records(80, "abcd")}, source="one", target="one", **{"label_sets": "separate"} | settings)


def test_own_classes_are_for_separate_label_sets_and_must_be_known():
    with pytest.raises(ValueError, match=r"target_classes is for data.label_sets=separate, not closed"):
        two(target_classes=["a"])
    with pytest.raises(ValueError, match=r"names q more than once"):
        apart(target_classes=["q", "q"]).classes_of("target")
    unlabelled = Plain({"one": records(40), "two": records(60, None, first=1000)}, label_sets="separate")
    with pytest.raises(ValueError, match=r"'two' has no labels: give data.target_classes"):
        unlabelled.classes_of("target")


def test_a_run_put_to_use_knows_both_sides_classes_again():
    data = apart()
    other = apart()
    other.restore(data.state())
    assert not other.opened
    assert other.classes_of("target") == ("p", "q", "r")
