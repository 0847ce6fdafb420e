import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch.testing import assert_close

from da.data.rows import Draw, Hidden, Joined, Subset, TensorRows, stable_seed, uniform
from da.data.samplers import EvalSampler, StreamSampler
from da.types import HIDDEN

SEEDS = st.integers(0, 2**63 - 1)


def batches(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x.rows, y.rows) and x.seed == y.seed for x, y in zip(a, b, strict=True))


def numbered(n=10):
    return TensorRows(torch.arange(n), torch.arange(n) % 3, domain=4)


def test_stable_seed_is_the_same_on_every_machine_and_python():
    # printf "(1, 'source')" | sha256sum begins with these eight bytes; little-endian, without the last bit
    assert stable_seed(1, "source") == int.from_bytes(bytes.fromhex("9e417ad35408fdcc"), "little") // 2


def test_stream_is_a_function_of_epoch_and_step_and_not_of_what_ran_before():
    used = StreamSampler(50, 8, steps=10, seed=3, stream="source")
    batches(used, 0), batches(used, 1)
    assert same(batches(used, 4), batches(StreamSampler(50, 8, steps=10, seed=3, stream="source"), 4))


def test_epochs_join_without_a_seam():
    short = StreamSampler(50, 8, steps=5, seed=3, stream="source")
    long = StreamSampler(50, 8, steps=10, seed=3, stream="source")
    assert same(batches(short, 0) + batches(short, 1), batches(long, 0))


@pytest.mark.parametrize("other", [{"seed": 4}, {"stream": "target"}])
def test_another_seed_or_stream_has_another_order(other):
    settings = {"seed": 3, "stream": "source"}
    a, b = (StreamSampler(50, 8, steps=3, **s) for s in (settings, settings | other))
    assert not torch.equal(batches(a)[0].rows, batches(b)[0].rows)


@given(share=st.integers(1, 5), world=st.integers(1, 4), extra=st.integers(0, 30), epoch=st.integers(0, 3), seed=SEEDS)
@settings(deadline=None, max_examples=30)
def test_shares_of_all_ranks_make_the_batch_of_one_process(share, world, extra, epoch, seed):
    size = share * world
    alone = batches(StreamSampler(size + extra, size, 7, seed, "target"), epoch)
    shares = [
        batches(StreamSampler(size + extra, size, 7, seed, "target", rank, world), epoch) for rank in range(world)
    ]
    joined = [Draw(torch.cat([draw.rows for draw in draws]), draws[0].seed) for draws in zip(*shares, strict=True)]
    assert same(joined, alone)


@given(num_rows=st.integers(1, 60), batch_size=st.integers(1, 60), seed=SEEDS)
@settings(deadline=None, max_examples=30)
def test_no_row_comes_twice_in_a_pass(num_rows, batch_size, seed):
    batch_size = min(batch_size, num_rows)
    steps = num_rows // batch_size
    sampler = StreamSampler(num_rows, batch_size, steps, seed, "source")
    rows = torch.cat([draw.rows for draw in batches(sampler, epoch=2)])
    assert len(rows.unique()) == len(rows) == steps * batch_size


def test_every_row_comes_once_in_a_pass_and_in_another_order_in_the_next():
    sampler = StreamSampler(24, 6, steps=4, seed=0, stream="source")
    first, second = (torch.cat([draw.rows for draw in batches(sampler, epoch)]) for epoch in (0, 1))
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(24))
    assert first.tolist() != second.tolist()


def test_batch_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(ValueError, match="batch_size 7 of stream 'source' can't be shared evenly by 2"):
        StreamSampler(50, 7, steps=1, seed=0, stream="source", world=2)


@given(num_rows=st.integers(1, 50), batch_size=st.integers(1, 20), world=st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_evaluation_covers_every_row_once_on_any_number_of_processes(num_rows, batch_size, world):
    draws = [draw for rank in range(world) for draw in EvalSampler(num_rows, batch_size, rank, world)]
    assert torch.cat([draw.rows for draw in draws]).tolist() == list(range(num_rows))
    assert max(len(draw.rows) for draw in draws) <= batch_size


@given(rows=st.lists(st.integers(0, 10**6), min_size=1, max_size=20), columns=st.integers(1, 5), seed=SEEDS)
@settings(deadline=None, max_examples=50)
def test_random_numbers_of_a_row_do_not_depend_on_its_batch(rows, columns, seed):
    whole = uniform(Draw(torch.tensor(rows), seed), columns)
    assert torch.equal(whole[-1:], uniform(Draw(torch.tensor(rows[-1:]), seed), columns))
    assert whole.shape == (len(rows), columns)
    assert whole.min() >= 0
    assert whole.max() < 1


def test_random_numbers_are_those_of_splitmix64():
    # its published first outputs from the state 1234567 (rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    expected = torch.tensor([(number >> 40) / 2**24 for number in published])
    assert torch.equal(uniform(Draw(torch.tensor([0, 1]), 1234567), 2).flatten(), expected)


def test_random_numbers_are_uniform_over_the_rows_and_over_the_seeds():
    over_rows = uniform(Draw(torch.arange(20_000), stable_seed("a")), 3)
    over_seeds = torch.cat([uniform(Draw(torch.tensor([7]), stable_seed("draw", t)), 3) for t in range(2000)])
    for sample in (*over_rows.T, *over_seeds.T):
        assert kstest(sample.numpy(), "uniform").pvalue > 1e-3  # fixed numbers: it holds always or never


def test_random_numbers_of_columns_rows_and_seeds_are_uncorrelated():
    u = uniform(Draw(torch.arange(20_001), 5), 2)
    other = uniform(Draw(torch.arange(20_001), 6), 2)
    series = torch.stack([u[:-1, 0], u[:-1, 1], u[1:, 0], other[:-1, 0]])
    assert_close(torch.corrcoef(series), torch.eye(4), atol=4 / 20_000**0.5, rtol=0)  # four standard errors


def test_subset_has_the_chosen_rows_under_new_numbers():
    part = Subset(numbered(), torch.tensor([7, 2, 5]))
    batch = part[Draw(torch.tensor([2, 0]), 0)]
    assert batch.x.tolist() == [5, 7]
    assert batch.y.tolist() == [2, 1]
    assert batch.index.tolist() == [2, 0]
    assert len(part) == 3
    assert part.y.tolist() == [1, 2, 2]


def test_subset_augments_a_row_as_the_whole_does():
    rows = TensorRows(torch.zeros(10), torch.zeros(10), 0, lambda x, draw: uniform(draw, 1)[:, 0])
    part = Subset(rows, torch.tensor([7, 2]))
    assert torch.equal(part[Draw(torch.tensor([0]), 9)].x, rows[Draw(torch.tensor([7]), 9)].x)


def test_hidden_rows_differ_in_their_labels_only():
    draw = Draw(torch.tensor([4, 1]), 0)
    shown, hidden = numbered()[draw], Hidden(numbered())[draw]
    assert hidden.y.tolist() == [HIDDEN, HIDDEN]
    assert (Hidden(numbered()).y == HIDDEN).all()
    assert all(torch.equal(getattr(shown, field), getattr(hidden, field)) for field in ("x", "domain", "index"))


GROUPS = [torch.arange(0, 17), torch.arange(17, 20), torch.arange(20, 51)]


def test_balanced_batches_hold_equally_many_rows_of_every_group_and_pass_each_before_they_repeat_it():
    rows = [draw.rows for draw in StreamSampler(51, 8, steps=40, seed=1, stream="source", groups=GROUPS)]
    for batch in rows:
        counts = [int(torch.isin(batch, group).sum()) for group in GROUPS]
        assert set(counts) <= {2, 3}
        assert sum(counts) == 8
    for group in GROUPS:
        own = torch.cat(rows)[torch.isin(torch.cat(rows), group)]
        for one_pass in own.split(len(group))[:-1]:
            assert sorted(one_pass.tolist()) == group.tolist()


def test_balanced_batches_are_the_same_after_a_resume_and_on_two_processes():
    used = StreamSampler(51, 8, steps=5, seed=1, stream="source", groups=GROUPS)
    whole = list(StreamSampler(51, 8, steps=10, seed=1, stream="source", groups=GROUPS))
    used.set_epoch(1)
    assert same(whole[5:], list(used))
    parts = [list(StreamSampler(51, 8, 10, 1, "source", rank, 2, GROUPS)) for rank in range(2)]
    assert same([Draw(torch.cat([a.rows, b.rows]), a.seed) for a, b in zip(*parts, strict=True)], whole)


def test_joined_rows_are_those_of_their_parts():
    parts = [TensorRows(torch.arange(4.0), torch.zeros(4), 0), TensorRows(10 + torch.arange(3.0), torch.ones(3), 5)]
    joined = Joined(parts)
    samples = joined[Draw(torch.tensor([6, 0, 4, 3]), 0)]
    assert samples.x.tolist() == [12.0, 0.0, 10.0, 3.0]
    assert samples.y.tolist() == [1, 0, 1, 0]
    assert samples.domain.tolist() == [5, 0, 5, 0]
    assert samples.index.tolist() == [6, 0, 4, 3]
    assert joined.domains.tolist() == [0] * 4 + [5] * 3


def test_rows_may_be_mappings_of_tensors():
    x = {"ids": torch.arange(12).view(6, 2), "mask": torch.ones(6, 2)}
    joined = Joined([TensorRows(x, torch.zeros(6), 0), TensorRows(x, torch.zeros(6), 1)])
    assert joined[Draw(torch.tensor([7, 2]), 0)].x["ids"].tolist() == [[2, 3], [4, 5]]
