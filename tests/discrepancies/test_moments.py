"""HoMM, CMD and the moment distance: closed forms, and the tensors and loops of the papers."""

from itertools import product

import pytest
import torch
from conftest import normal
from torch.testing import assert_close

from da.discrepancies.cmd import Cmd, cmd
from da.discrepancies.homm import Homm, homm, homm_entries
from da.discrepancies.moment import MomentDistance, euclidean_norm, moment_distance, moment_distance_many


def moment_tensor(z, order):
    letters = "abcde"[:order]
    return torch.einsum(",".join(f"n{k}" for k in letters) + "->" + letters, *[z] * order) / len(z)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_homm_equals_the_mean_squared_difference_of_the_moment_tensors(order):
    x, y = normal(7, 4), 1.5 * normal(5, 4, seed=1) + 1
    assert_close(homm(x, y, order), (moment_tensor(x, order) - moment_tensor(y, order)).square().mean())


@pytest.mark.parametrize("order", [1, 3, 4])
def test_all_entries_of_the_tensors_give_the_exact_homm(order):
    x, y = normal(7, 3), 1.5 * normal(5, 3, seed=1) + 1
    entries = torch.tensor(list(product(range(3), repeat=order)))
    assert_close(homm_entries(x, y, entries), homm(x, y, order))


def test_homm_of_two_points_is_the_kernel_of_the_paper():
    x, y = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[3.0, -1.0]]).double()
    assert_close(homm(x, y, 3), torch.tensor((5.0**3 + 10.0**3 - 2 * 1.0**3) / 8).double())


def test_homm_in_float32_survives_a_large_offset():
    x, y = (normal(24, 5) + 1000).float(), (normal(17, 5, seed=1) + 1000.5).float()
    # |E z^3| is 1e9, its square 1e18, and the difference a millionth of that
    assert_close(homm(x, y).double(), homm(x.double(), y.double()), rtol=1e-3, atol=0)


def test_drawn_homm_repeats_itself_in_evaluation_and_moves_on_in_training():
    x, y = normal(7, 6), normal(5, 6, seed=1) + 1
    distance = Homm(order=4, num_samples=50)
    assert distance(x, y) != distance(x, y)
    distance.eval()
    assert_close(distance(x, y), distance(x, y), rtol=0, atol=0)


def test_drawn_homm_estimates_the_exact_one():
    x, y = normal(7, 3), normal(5, 3, seed=1) + 1
    # 100,000 draws of 27 entries: the mean is off by about the deviation of the entries over sqrt(100,000)
    assert_close(Homm(3, num_samples=100_000).eval()(x, y), homm(x, y, 3), rtol=0.02, atol=0)


def test_only_the_exact_homm_claims_to_be_unmoved_by_rotations():
    assert Homm().rotation_invariant
    assert not Homm(num_samples=10).rotation_invariant


def naive_cmd(x, y, num_moments, a, b):
    total = (x.mean(0) - y.mean(0)).norm() / (b - a)
    for k in range(2, num_moments + 1):
        of_x = sum((row - x.mean(0)) ** k for row in x) / len(x)
        of_y = sum((row - y.mean(0)) ** k for row in y) / len(y)
        total = total + (of_x - of_y).norm() / (b - a) ** k
    return total


@pytest.mark.parametrize(("num_moments", "interval"), [(1, (0.0, 1.0)), (3, (-1.0, 1.0)), (5, (0.0, 2.0))])
def test_cmd_equals_the_sum_over_the_moments(num_moments, interval):
    x, y = normal(7, 4).sigmoid(), normal(5, 4, seed=1).sigmoid() + 0.2
    assert_close(cmd(x, y, num_moments, interval), naive_cmd(x, y, num_moments, *interval))


def test_cmd_of_a_moved_cloud_is_the_length_of_the_move_over_the_interval():
    x, move = normal(9, 4), normal(4, seed=5)
    assert_close(cmd(x, x + move, 5, (-1.0, 1.0)), move.norm() / 2)


def test_cmd_of_a_scaled_coordinate_is_the_sum_of_powers():
    x = torch.tensor([[-1.0], [1.0]]).double()  # c_2 = c_4 = 1, c_3 = c_5 = 0; doubled: 4 and 16
    assert_close(cmd(x, 2 * x, 5), torch.tensor(3.0 + 15.0).double())


def test_the_moment_distance_equals_the_norms_of_the_differences():
    x, y = normal(7, 4), normal(5, 4, seed=1) + 1
    expected = sum(((x**k).mean(0) - (y**k).mean(0)).norm() for k in (1, 2, 3))
    assert_close(moment_distance(x, y, 3), expected)


def test_the_moment_distance_of_two_points_in_closed_form():
    x, y = torch.tensor([[0.0, 0.0]]).double(), torch.tensor([[3.0, 4.0]]).double()
    assert_close(moment_distance(x, y), torch.tensor(5.0 + (9.0**2 + 16.0**2) ** 0.5).double())


def test_the_moment_distance_of_many_sources_is_the_mean_to_the_target_and_the_mean_among_them():
    sources = [normal(n, 4, seed=n) + n / 10 for n in (5, 6, 8)]
    z_t = normal(7, 4, seed=1)
    to_target = sum(moment_distance(z_s, z_t) for z_s in sources) / 3
    pairs = [(0, 1), (0, 2), (1, 2)]
    among = sum(moment_distance(sources[i], sources[j]) for i, j in pairs) / 3
    assert_close(moment_distance_many(sources, z_t), to_target + among)


def test_the_moment_distance_of_one_source_has_no_pairs_among_the_sources():
    x, y = normal(7, 4), normal(5, 4, seed=1) + 1
    assert_close(moment_distance_many([x], y), moment_distance(x, y))
    with pytest.raises(ValueError, match="got none"):
        moment_distance_many([], y)


@pytest.mark.parametrize("distance", [cmd, moment_distance])
def test_equal_clouds_have_a_gradient_of_zero(distance):
    x = normal(6, 3).requires_grad_()
    distance(x, x.detach()).backward()
    assert_close(x.grad, torch.zeros_like(x), rtol=0, atol=0)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_norm_squares_without_overflow_or_underflow(size):
    x = torch.tensor([3 * size, -4 * size], requires_grad=True)
    value = euclidean_norm(x)
    value.backward()
    assert_close(value, torch.tensor(5 * size), atol=0, rtol=1e-6)
    assert_close(x.grad, torch.tensor([0.6, -0.8]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Homm(order=0), "order must be 1 or more, got 0"),
        (lambda: Homm(num_samples=0), "num_samples must be 1 or more, .* got 0"),
        (lambda: Cmd(num_moments=0), "num_moments must be 1 or more, got 0"),
        (lambda: Cmd(interval=[1.0, 1.0]), "interval must be .*, got \\[1.0, 1.0\\]"),
        (lambda: Cmd(interval=[0.0]), "interval must be .*, got \\[0.0\\]"),
        (lambda: MomentDistance(num_moments=0), "num_moments must be 1 or more, got 0"),
    ],
)
def test_refuses_what_is_no_moment(make, message):
    with pytest.raises(ValueError, match=message):
        make()
