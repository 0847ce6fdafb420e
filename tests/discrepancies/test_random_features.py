"""Random Fourier features against the exact MMD."""

import pytest
import torch
from conftest import normal
from torch.testing import assert_close

from da.discrepancies.mmd import mmd2
from da.discrepancies.random_features import MmdRff, mmd2_rff, standard_frequencies


def test_random_features_scatter_around_the_exact_value_and_more_of_them_scatter_less(clouds):
    x, y = clouds[0], 1.5 * clouds[1] + 0.3
    exact = mmd2(x, y, (0.5, 3.0))
    drawn = standard_frequencies(5, 2**14, 0)
    few, many = (
        torch.stack([mmd2_rff(x, y, part, (0.5, 3.0)) for part in drawn.split(size, dim=1)]) for size in (32, 512)
    )
    assert abs(few.mean() - exact) < 3 * few.std() / 512**0.5
    assert 2.5 < (few - exact).square().mean().sqrt() / (many - exact).square().mean().sqrt() < 6.5  # 4, from 32 draws
    assert many.std() < 0.1 * exact


def test_random_features_weigh_the_scales_alike_where_they_do_not_divide_the_features(clouds):
    """cos and sin of one frequency a scale: the value is the mean over the scales of |mean phi - mean phi|^2."""
    x, y = clouds
    w = standard_frequencies(5, 3, 0)
    alone = [mmd2_rff(x, y, w[:, [0, 2]], (0.5,), 2.0), mmd2_rff(x, y, w[:, [1]], (3.0,), 2.0)]
    assert_close(mmd2_rff(x, y, w, (0.5, 3.0), 2.0), (alone[0] + alone[1]) / 2)


def test_random_features_depend_on_the_seed_alone(clouds):
    first, second, other = MmdRff(64, seed=1), MmdRff(64, seed=1), MmdRff(64, seed=2)
    first(normal(4, 3), normal(4, 3))  # another width in between
    assert_close(first(*clouds), second(*clouds), rtol=0, atol=0)
    assert_close(first(*clouds), first(*clouds), rtol=0, atol=0)
    assert other(*clouds) != first(*clouds)


@pytest.mark.parametrize("options", [{"num_features": 4}, {"bandwidth": "median"}, {"bandwidth": -1.0}])
def test_random_features_refuse_what_means_nothing(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MmdRff(**options)
