import numpy as np
import pytest
import torch
from conftest import everything

from da.data import digits
from da.data.base import Domain, DomainData
from da.data.digits import Digits
from da.data.digits_demo import DigitsDemo
from da.data.rows import TensorRows, hold_out
from da.data.toy import Toy
from da.types import HIDDEN

BATCH_SIZE = {"source": 4, "target": 4, "labeled": 4, "oracle": 4}


class Counted(DomainData):
    """x is the row number and the class is x % 3, so that a batch proves itself; remembers what it opened."""

    def __init__(self, source_rows=12, target_rows=30, **settings):
        super().__init__(**{"num_classes": 3, "batch_size": BATCH_SIZE, "labels_per_class": 2} | settings)
        self.num_rows = {"source": source_rows, "target": target_rows}
        self.opened = []

    def read(self, role):
        self.opened.append(role)
        x = torch.arange(self.num_rows[role])
        rows = TensorRows(x, x % 3, int(role == "target"))
        return Domain(role, rows, rows, rows)

    def names(self):
        return {"source": "a", "target": "b"}

    def hashes(self):
        return {}


def fake_digits(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    for name, size in (("mnist", 28), ("usps", 16)):
        arrays = {f"x_{part}": np.zeros((40, size, size), np.uint8) for part in ("train", "test")}
        arrays |= {f"y_{part}": np.arange(40) % 10 for part in ("train", "test")}
        np.savez(tmp_path / "digits" / f"{name}.npz", **arrays)
        monkeypatch.setitem(digits.SHA256, f"{name}.npz", digits.sha256(tmp_path / "digits" / f"{name}.npz"))
    return Digits(root=str(tmp_path), num_classes=10, batch_size=BATCH_SIZE)


MAKERS = {
    "toy moons": lambda *_: Toy("moons", num_classes=2, batch_size=BATCH_SIZE),
    "toy blobs": lambda *_: Toy("blobs", num_classes=3, batch_size=BATCH_SIZE),
    "digits_demo": lambda *_: DigitsDemo(source_rows=50, num_classes=10, batch_size=BATCH_SIZE),
    "digits": fake_digits,
}


@pytest.mark.parametrize("name", MAKERS)
def test_no_data_set_shows_a_target_label_in_training(name, tmp_path, monkeypatch):
    data = MAKERS[name](tmp_path, monkeypatch)
    data.load(frozenset({"source", "target"}))
    assert (everything(data.train_set("target")).y == HIDDEN).all()
    batch = next(iter(data.train_dataloader()))[0]
    assert (batch["target"].y == HIDDEN).all()
    assert (batch["source"].y != HIDDEN).all()
    assert set(batch["source"].domain.tolist()).isdisjoint(batch["target"].domain.tolist())


@pytest.mark.parametrize("name", MAKERS)
def test_every_data_set_hashes_what_it_opened_and_nothing_else(name, tmp_path, monkeypatch):
    data = MAKERS[name](tmp_path, monkeypatch)
    assert data.hashes() == {}
    data.load(frozenset({"target"}), ("target",))
    assert list(data.hashes()) == [data.names()["target"]]


def test_source_free_load_leaves_the_source_closed():
    data = Counted()
    data.load(frozenset({"target"}), ("target",))
    next(iter(data.train_dataloader()))
    data.val_dataloader()
    assert data.opened == ["target"]


def test_domain_is_opened_once():
    data = Counted()
    data.load(frozenset({"source", "target", "labeled", "oracle"}))
    data.train_dataloader(), data.test_dataloader()
    assert sorted(data.opened) == ["source", "target"]


def test_batch_larger_than_the_domain_is_refused():
    with pytest.raises(ValueError, match=r"data.batch_size.source=4 is larger than the 3 rows of stream 'source'"):
        Counted(source_rows=3).load(frozenset({"source"}))


def test_empty_target_is_refused():
    with pytest.raises(ValueError, match="the target domain 'target' has no training rows"):
        Counted(target_rows=0).load(frozenset({"target"}))


def test_labels_beyond_the_number_of_classes_are_refused():
    with pytest.raises(ValueError, match=r"data.num_classes=2, but the train labels .* run from 0 to 2"):
        Counted(num_classes=2).load(frozenset({"source"}))


def test_unknown_stream_is_refused():
    with pytest.raises(ValueError, match=r"the method needs \['unlabeled'\] too"):
        Counted().load(frozenset({"source", "unlabeled"}))


def test_stream_without_a_batch_size_is_refused():
    with pytest.raises(ValueError, match=r"data.batch_size has \['source'\], the method needs 'target' too"):
        Counted(batch_size={"source": 4}).load(frozenset({"source", "target"}))


def test_labeled_stream_has_exactly_k_true_labels_a_class():
    batch = everything(Counted().train_set("labeled"))
    assert batch.y.bincount().tolist() == [2, 2, 2]
    assert torch.equal(batch.y, batch.x % 3)
    assert len(batch.x.unique()) == 6


def test_labeled_rows_are_chosen_by_the_seed():
    chosen = [set(everything(Counted(seed=seed).train_set("labeled")).x.tolist()) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_more_labels_a_class_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"data\.labels_per_class=11, but class 0 has 10 target rows"):
        Counted(labels_per_class=11).train_set("labeled")


def test_oracle_stream_shows_every_target_label():
    batch = everything(Counted().train_set("oracle"))
    assert torch.equal(batch.y, batch.x % 3)


def test_validation_is_capped_and_the_test_is_not():
    data = Counted(val_rows=7)
    capped = everything(data.eval_set("target", "val"))
    assert len(capped.x.unique()) == 7
    assert torch.equal(capped.y, capped.x % 3)
    assert len(data.eval_set("target", "test")) == 30


def test_an_epoch_is_as_long_as_its_longest_stream_unless_told():
    data, told = Counted(), Counted(steps_per_epoch=5)
    for each in (data, told):
        each.load(frozenset({"source", "target"}))
    assert len(list(data.train_dataloader())) == 30 // 4
    assert len(list(told.train_dataloader())) == 5


def test_hold_out_deals_every_row_once():
    rows = TensorRows(torch.arange(50), torch.zeros(50), 0)
    train, val = (everything(part).x.tolist() for part in hold_out(rows, 0.1))
    assert len(val) == 5
    assert sorted(train + val) == list(range(50))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_hold_out_of_nothing_or_everything_is_refused(fraction):
    with pytest.raises(ValueError, match="val_fraction must lie between 0 and 1"):
        hold_out(TensorRows(torch.arange(50), torch.zeros(50), 0), fraction)
