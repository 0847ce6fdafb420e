"""The memory of rows seen before."""

import pytest
import torch
from conftest import normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.models.bank import Bank


def bank_of(capacity, d=4, c=3):
    return Bank(capacity, d, c).double()


def write(bank, *index, seed=0):
    z, p = normal(len(index), 4, seed=seed), normal(len(index), 3, seed=seed + 1)
    bank.write(torch.tensor(index), z, p)
    return {i: (F.normalize(z[k], dim=0), p[k]) for k, i in enumerate(index)}


def entries(bank):
    return {int(i): (f, p) for i, f, p in zip(bank.index, bank.features, bank.predictions, strict=True) if i >= 0}


def test_what_is_written_is_there_under_its_number_and_nothing_else():
    bank = bank_of(10)
    assert_close(write(bank, 7, 3, 100), entries(bank))


def test_a_row_seen_again_overwrites_its_old_entry():
    bank = bank_of(10)
    expected = write(bank, 1, 2, 3) | write(bank, 3, 4, 1, seed=5)
    assert_close(entries(bank), expected)
    assert int((bank.index >= 0).sum()) == 4


def test_the_oldest_entries_leave_and_a_row_seen_again_is_young():
    bank = bank_of(4)
    write(bank, 1, 2, 3)
    write(bank, 1, 4, seed=5)
    write(bank, 5, 6, seed=9)  # 2 and 3 are the oldest: 1 was seen again
    assert set(entries(bank)) == {1, 4, 5, 6}
    write(bank, 7, seed=13)
    assert set(entries(bank)) == {4, 5, 6, 7}


def test_it_equals_a_dictionary_in_order_of_writing_over_many_batches():
    bank, model = bank_of(12), {}
    for step in range(40):
        index = torch.randperm(20, generator=torch.Generator().manual_seed(step))[:5].tolist()
        for i, entry in write(bank, *index, seed=2 * step).items():
            model.pop(i, None)
            model[i] = entry
        model = dict(list(model.items())[-12:])
        assert_close(dict(sorted(entries(bank).items())), dict(sorted(model.items())))


def test_of_a_row_that_stands_twice_in_a_batch_the_last_stays():
    bank = bank_of(4)
    z, p = normal(3, 4), normal(3, 3)
    for _ in range(2):  # new, and known
        bank.write(torch.tensor([5, 6, 5]), z, p)
        assert_close(entries(bank)[5], (F.normalize(z[2], dim=0), p[2]))
        assert sorted(entries(bank)) == [5, 6]


def test_neighbours_are_the_rows_of_largest_cosine_and_never_the_row_itself():
    bank = bank_of(10)
    stored = write(bank, *range(8))
    index, z = torch.tensor([2, 50]), normal(2, 4, seed=30)
    near = bank.neighbours(index, z, k=3)
    for i, row, slots in zip(index.tolist(), z, near.slots, strict=True):
        cosine = {j: float(F.cosine_similarity(row, f, dim=0)) for j, (f, _) in stored.items() if j != i}
        assert bank.index[slots].tolist() == sorted(cosine, key=cosine.get, reverse=True)[:3]
    assert near.valid.all()


def test_where_there_are_fewer_rows_than_neighbours_the_rest_is_not_valid():
    bank = bank_of(10)
    z = write(bank, 0, 1, 2)
    near = bank.neighbours(torch.tensor([0, 9]), torch.stack([z[0][0], z[1][0]]), k=4)
    assert near.valid.tolist() == [[True, True, False, False], [True, True, True, False]]
    empty = bank_of(5).neighbours(torch.tensor([0]), normal(1, 4), k=2)
    assert not empty.valid.any()


def test_in_evaluation_mode_nothing_is_written():
    bank = bank_of(5).eval()
    write(bank, 1, 2)
    assert entries(bank) == {}


def test_it_is_saved_and_restored():
    bank, again = bank_of(5), bank_of(5)
    write(bank, 1, 2, 3)
    again.load_state_dict(bank.state_dict())
    write(bank, 4, 5, 6, seed=3), write(again, 4, 5, 6, seed=3)
    assert_close(entries(again), entries(bank))


def test_a_batch_larger_than_the_bank_and_more_neighbours_than_entries_are_refused():
    bank = bank_of(2)
    with pytest.raises(ValueError, match="capacity=2 is less than the 3 rows of a batch"):
        write(bank, 1, 2, 3)
    with pytest.raises(ValueError, match="3 neighbours were asked of a bank of capacity=2"):
        bank.neighbours(torch.tensor([0]), normal(1, 4), k=3)
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        bank_of(0)
