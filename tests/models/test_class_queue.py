"""The queue of the latest keys of every class, beside a list that is kept by hand."""

import pytest
import torch
from conftest import normal
from processes import on_processes
from torch.testing import assert_close

from da.models.class_queue import ClassQueue

LABELS = [[0, 1, 1, 0, 2, 1], [2, 2, 2, 2, 2, 0], [1, 1, 1, 1, 0, 1]]


def queue(capacity=3):
    return ClassQueue(3, capacity, 2, torch.float64)


def batches():
    return [(normal(len(y), 2, seed=i), torch.tensor(y)) for i, y in enumerate(LABELS)]


def held(queue):
    """Keys of every class, in no order."""
    keys, classes, there = queue.rows()
    return [sorted(keys[there & (classes == c)].tolist()) for c in range(3)]


def test_holds_the_latest_of_every_class_as_a_list_would():
    kept, lists = queue(), [[], [], []]
    assert held(kept) == lists
    for keys, y in batches():
        kept.write(keys, y)
        for key, c in zip(keys.tolist(), y.tolist(), strict=True):
            lists[c] = [*lists[c], key][-3:]
        assert held(kept) == [sorted(keys) for keys in lists]


def test_in_evaluation_mode_nothing_is_written():
    kept = queue().eval()
    kept.write(*batches()[0])
    assert not kept.rows()[2].any()


def test_keys_carry_no_gradient_and_are_saved():
    kept, again = queue(), queue()
    keys, y = batches()[0]
    kept.write(keys.requires_grad_(), y)
    assert not kept.keys.requires_grad
    again.load_state_dict(kept.state_dict())
    for each in (kept, again):
        each.write(*batches()[1])
    assert held(again) == held(kept)


def test_needs_a_place_for_every_class():
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        queue(0)


def written(rank, world):
    kept = queue()
    for keys, y in batches():
        kept.write(keys.chunk(world)[rank], y.chunk(world)[rank])
    return kept.keys, kept.written


@pytest.mark.ddp
def test_two_processes_hold_the_queue_of_one():
    for found in on_processes(2, written):
        assert_close(found, written(0, 1), rtol=0, atol=0)
