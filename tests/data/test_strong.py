"""Strong views: the same rows as the target's, changed as a function of (seed, row) only."""

import pytest
import torch
from conftest import config, normal
from torch.testing import assert_close

from da.build import build
from da.data.rows import Draw, TensorRows, Twin, uniform
from da.data.strong import StrongView


def rows(*shape):
    return TensorRows(normal(*shape, dtype=torch.float32), torch.zeros(shape[0]), domain=0)


def test_a_batch_holds_the_same_rows_as_the_targets_without_labels():
    data = build(config("data=toy", "net=mlp").data, "data")
    data.load(frozenset({"source", "target", "target_strong"}))
    for batch, _, _ in list(data.train_dataloader())[:3]:
        assert torch.equal(batch["target"].index, batch["target_strong"].index)
        assert not torch.equal(batch["target"].x, batch["target_strong"].x)
        assert (batch["target_strong"].y == -1).all()


def test_the_twin_of_the_labelled_rows_is_the_same_rows_under_another_draw():
    data = build(config("data=digits_demo", "data.labels_per_class=5").data, "data")
    data.load(frozenset({"labeled", "labeled_twin"}))
    for batch, _, _ in list(data.train_dataloader())[:3]:
        for column in ("index", "y", "domain"):
            assert torch.equal(getattr(batch["labeled"], column), getattr(batch["labeled_twin"], column))
        assert (batch["labeled"].y >= 0).all()


def test_a_twin_is_drawn_anew_and_the_same_every_time():
    plain = TensorRows(torch.zeros(12, 3), torch.zeros(12), 0, lambda x, draw: x + uniform(draw, 3))
    twin, draw = Twin(plain), Draw(torch.tensor([3, 7]), 5)
    assert not torch.equal(twin[draw].x, plain[draw].x)
    assert torch.equal(twin[draw].x, twin[draw].x)
    assert torch.equal(twin[draw].x[1:], twin[Draw(torch.tensor([7]), 5)].x)


@pytest.mark.parametrize("shape", [(12, 1, 16, 16), (12, 3, 8, 10), (12, 5), (12, 2, 30)])
def test_what_happens_to_a_row_depends_on_the_seed_and_the_row_only(shape):
    view = StrongView(rows(*shape))
    whole = view[Draw(torch.arange(12), 7)].x
    part = view[Draw(torch.tensor([9, 3]), 7)].x
    assert whole.shape == shape
    assert whole.isfinite().all()
    assert_close(part, whole[[9, 3]])
    assert not torch.equal(view[Draw(torch.arange(12), 8)].x, whole)


def test_an_image_keeps_its_range_to_a_stated_margin():
    x = torch.rand(64, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    strong = StrongView(TensorRows(x, torch.zeros(64), domain=0))[Draw(torch.arange(64), 0)].x
    assert strong.min() > -1 - 2 * (0.5 + 0.2)  # contrast 0.5 and brightness 0.2 of a range of 2
    assert strong.max() < 1 + 2 * (0.5 + 0.2)


def test_part_of_every_image_is_cut_out():
    x = torch.rand(32, 1, 20, 20, generator=torch.Generator().manual_seed(0)) + 1
    strong = StrongView(TensorRows(x, torch.zeros(32), domain=0))[Draw(torch.arange(32), 0)].x
    darkest = x.amin(dim=(1, 2, 3), keepdim=True)
    assert ((strong == darkest).flatten(1).sum(dim=1) > 0).all()


def test_rows_that_are_no_numbers_are_refused():
    view = StrongView(TensorRows(torch.zeros(4, 3, dtype=torch.uint8), torch.zeros(4), domain=0))
    with pytest.raises(TypeError, match="floating-point"):
        view[Draw(torch.arange(4), 0)]
