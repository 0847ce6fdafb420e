"""Closed forms, and naive formulas written from the papers."""

import pytest
import torch
from conftest import normal
from torch.testing import assert_close

from da.discrepancies.coral import Coral, coral
from da.discrepancies.linear import mean_distance
from da.discrepancies.mmd import Mmd, mmd2


def test_mean_distance_of_a_moved_cloud_is_the_squared_move(clouds):
    x, _ = clouds
    move = normal(5, seed=7)
    assert_close(mean_distance(x, x + move), move @ move)


def test_coral_of_a_scaled_cloud():
    x = normal(64, 3)  # cov(2x) = 4 cov(x), so the difference is 3 cov(x)
    assert_close(coral(x, 2 * x), 9 * torch.cov(x.T).square().sum() / 36)


def test_coral_is_blind_to_a_shift_of_the_mean():
    x = normal(64, 3)
    assert_close(coral(x, x + 5), x.new_zeros(()), atol=1e-20, rtol=0)


def test_coral_needs_two_rows():
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        Coral()(normal(1, 3), normal(4, 3))


def naive_mmd2(x, y, scales, bandwidth):
    def k(a, b):
        d2 = float((a - b) @ (a - b))
        return sum(torch.exp(torch.tensor(-d2 / (2 * s * bandwidth), dtype=x.dtype)) for s in scales) / len(scales)

    def mean_kernel(a, b):
        return sum(k(p, q) for p in a for q in b) / (len(a) * len(b))

    return mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)


def test_mmd_equals_the_double_sum():
    x, y = normal(7, 3), normal(5, 3, seed=1) + 1
    assert_close(mmd2(x, y, (0.5, 2.0), 1.5), naive_mmd2(x, y, (0.5, 2.0), 1.5))


def test_mmd_bandwidth_is_the_mean_squared_distance_of_all_pairs():
    x, y = normal(7, 3), normal(5, 3, seed=1) + 1
    z = torch.cat([x, y])
    pairs = [float((z[i] - z[j]) @ (z[i] - z[j])) for i in range(12) for j in range(12) if i != j]
    assert_close(mmd2(x, y), mmd2(x, y, bandwidth=sum(pairs) / len(pairs)))


def test_mmd_of_two_far_points_is_two():
    x = torch.zeros(1, 2, dtype=torch.float64)
    assert_close(mmd2(x, x + 1e4, (1.0,), 1.0), torch.tensor(2.0, dtype=torch.float64))


@pytest.mark.parametrize(("setting", "value"), [("bandwidth", 0.0), ("scales", []), ("scales", [1.0, -1.0])])
def test_mmd_refuses_what_is_no_length(setting, value):
    with pytest.raises(ValueError, match=setting):
        Mmd(**{setting: value})
