"""Windows of long recordings, against what a loop over samples gives."""

from itertools import groupby

import numpy as np
import pytest

from da.data.windows import cut, split_in_time, window_starts

RUN = np.repeat([3, 3, -1, 5, 3, 8], [7, 6, 9, 4, 11, 1])  # the first two are one run


@pytest.mark.parametrize(("length", "stride"), [(4, 2), (4, 4), (5, 1), (3, 7)])
def test_windows_begin_with_each_run_and_none_straddles_two(length, stride):
    expected, first = [], 0
    for number, samples in groupby(RUN.tolist()):
        last = first + len(list(samples))
        expected += [i for i in range(first, last) if (i - first) % stride == 0 and i + length <= last and number >= 0]
        first = last
    assert window_starts(RUN, length, stride).tolist() == expected


@pytest.mark.parametrize("run", [np.empty(0, dtype=int), np.zeros(3, dtype=int), np.full(9, -1)])
def test_nothing_that_fills_a_window_gives_no_window(run):
    starts = window_starts(run, 4, 2)
    assert starts.shape == (0,)
    assert cut(np.zeros((len(run), 3)), starts, 4).shape == (0, 3, 4)


def test_windows_have_channels_before_time():
    samples = np.arange(40).reshape(20, 2)
    windows = cut(samples, np.array([0, 5]), 4)
    assert windows.tolist() == [[[0, 2, 4, 6], [1, 3, 5, 7]], [[10, 12, 14, 16], [11, 13, 15, 17]]]


@pytest.mark.parametrize(("length", "stride", "overlap"), [(128, 64, 1), (128, 128, 0), (64, 16, 3)])
def test_parts_share_no_samples_and_each_run_has_all_of_them(length, stride, overlap):
    run = np.repeat([0, 1], [40, 23])
    part = split_in_time(run, 0.2, 0.3, overlap)
    for number in (0, 1):
        own = part[run == number]
        samples = {
            name: {i * stride + t for i in np.flatnonzero(own == name) for t in range(length)}
            for name in ("train", "val", "test")
        }
        assert all(samples.values())
        assert not samples["train"] & samples["val"]
        assert not samples["train"] & samples["test"]
        assert not samples["val"] & samples["test"]
        assert max(samples["train"]) < min(samples["val"]) < min(samples["test"])
        assert (own == "").sum() == 2 * overlap
    assert ((part == "test").sum(), (part == "val").sum()) == (19 - 2 * overlap, 13 - 2 * overlap)


def test_run_too_short_to_be_divided_trains_as_a_whole():
    assert split_in_time(np.array([4, 4, 4]), 0.3, 0.3, 1).tolist() == ["train"] * 3


@pytest.mark.parametrize("fractions", [(0.0, 0.0), (0.0, 0.4), (0.4, 0.0)])
def test_nothing_is_held_out_that_is_not_asked_for(fractions):
    part = split_in_time(np.zeros(10, dtype=int), *fractions, overlap=1)
    val, test = (np.sum(part == name) for name in ("val", "test"))
    assert [val, test] == [3 if fraction else 0 for fraction in fractions]
