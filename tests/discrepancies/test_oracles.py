"""Closed forms, and naive formulas written from the papers."""

from conftest import normal
from torch.testing import assert_close

from da.discrepancies.linear import mean_distance


def test_mean_distance_of_a_moved_cloud_is_the_squared_move(clouds):
    x, _ = clouds
    move = normal(5, seed=7)
    assert_close(mean_distance(x, x + move), move @ move)
