"""The MMD family against the papers' sums, written out, and the promises about gradients, memory and noise."""

import math
from itertools import product

import pytest
import torch
from conftest import normal
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from da.discrepancies.kernels import squared_distances
from da.discrepancies.linear import mean_distance
from da.discrepancies.mmd import Mmd, mmd2
from da.discrepancies.mmd_error import mmd2_with_error

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
KERNELS = {
    "gaussian": lambda a, b, s: torch.exp(-(a - b).square().sum() / (2 * s)),
    "laplacian": lambda a, b, s: torch.exp(-(a - b).norm() / s**0.5),
    "rational_quadratic": lambda a, b, s: 1 / (1 + (a - b).square().sum() / (2 * s)),
    "linear": lambda a, b, s: a @ b,
}


def kernel_means(x, y, kernel, lengths, pairs):
    """Mean of the kernel over the pairs (i, j) that `pairs` admits."""
    chosen = [(a, b) for (i, a), (j, b) in product(enumerate(x), enumerate(y)) if pairs(i, j)]
    return sum(KERNELS[kernel](a, b, s) for a, b in chosen for s in lengths) / (len(chosen) * len(lengths))


def naive_mmd2(x, y, estimator, kernel, lengths):
    """Gretton et al. 2012, eq. 5 and eq. 3, pair by pair."""
    if estimator == "biased":
        ss, tt = (kernel_means(z, z, kernel, lengths, lambda i, j: True) for z in (x, y))
    else:
        ss, tt = (kernel_means(z, z, kernel, lengths, lambda i, j: i != j) for z in (x, y))
    return ss + tt - 2 * kernel_means(x, y, kernel, lengths, lambda i, j: True)


def naive_blocks(x, y, kernel, lengths, size):
    """Mean over the blocks of the mean of h over the ordered pairs of different rows."""

    def k(a, b):
        return sum(KERNELS[kernel](a, b, s) for s in lengths) / len(lengths)

    values = []
    for start in range(0, min(len(x), len(y)) // size * size, size):
        for i, j in product(range(start, start + size), repeat=2):
            if i != j:
                values.append(k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]))
    return sum(values) / len(values)


def value_and_gradients(function, *clouds):
    clouds = [cloud.detach().requires_grad_() for cloud in clouds]
    value = function(*clouds)
    return value.detach(), *torch.autograd.grad(value, clouds)


@pytest.fixture
def pair():
    return normal(7, 3), normal(5, 3, seed=1) + 1


@pytest.mark.parametrize("lengths", [(0.5, 2.0), (1.0, 8.0, 3.0)], ids=["squarings", "exponentials"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_value_and_gradient_equal_those_of_the_double_sum(pair, estimator, kernel, lengths):
    ours = value_and_gradients(lambda x, y: mmd2(x, y, lengths, 1.0, estimator, kernel), *pair)
    assert_close(ours, value_and_gradients(lambda x, y: naive_mmd2(x, y, estimator, kernel, lengths), *pair))


def _leaves(*clouds):
    return tuple(cloud.detach().requires_grad_() for cloud in clouds)


@pytest.mark.parametrize("kernel", KERNELS)
def test_linear_time_estimator_is_the_mean_of_h_over_pairs_of_neighbours(kernel):
    x, y = normal(9, 3), normal(7, 3, seed=1) + 1  # an odd number and rows without a partner
    expected = value_and_gradients(lambda x, y: naive_blocks(x, y, kernel, (0.5, 2.0), 2), x, y)
    assert_close(value_and_gradients(lambda x, y: mmd2(x, y, (0.5, 2.0), 1.0, "linear", kernel), x, y), expected)
    assert not expected[2][6].any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_block_estimator_is_the_mean_over_blocks_of_the_mean_of_h(kernel):
    x, y = normal(9, 3), normal(7, 3, seed=1) + 1
    expected = value_and_gradients(lambda x, y: naive_blocks(x, y, kernel, (0.5, 2.0), 3), x, y)
    assert_close(value_and_gradients(lambda x, y: mmd2(x, y, (0.5, 2.0), 1.0, "block", kernel, 3), x, y), expected)


def test_block_size_is_the_root_of_the_number_of_rows_unless_given():
    x, y = normal(30, 3), normal(26, 3, seed=1)
    assert_close(Mmd("block")(x, y), Mmd("block", block_size=5)(x, y), rtol=0, atol=0)
    with pytest.raises(ValueError, match="needs 27 rows of each domain, got 30 source and 26 target rows"):
        Mmd("block", block_size=27)(x, y)


def test_bandwidth_is_the_mean_squared_distance_of_all_pairs(pair):
    z = torch.cat(pair)
    pairs = [float((z[i] - z[j]) @ (z[i] - z[j])) for i in range(12) for j in range(12) if i != j]
    assert_close(mmd2(*pair), mmd2(*pair, bandwidth=sum(pairs) / len(pairs)))


def test_median_bandwidth_is_the_median_of_all_pairs(pair):
    x, y = pair[0], pair[1][:4]
    distances = torch.nn.functional.pdist(torch.cat([x, y])).square().sort().values  # 55 of them
    assert_close(mmd2(x, y, bandwidth="median"), mmd2(x, y, bandwidth=float(distances[27])))


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian", "rational_quadratic"])
def test_a_list_of_bandwidths_replaces_the_scales(pair, kernel):
    listed = mmd2(*pair, (9.0, 9.0), [1.5, 0.75], kernel=kernel)
    assert_close(listed, mmd2(*pair, (1.0, 0.5), 1.5, kernel=kernel))


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian", "rational_quadratic"])
def test_two_far_points_are_two_apart_whatever_the_kernel(kernel):
    x = torch.zeros(1, 2, dtype=torch.float64)
    assert_close(mmd2(x, x + 1e8, (1.0,), 1.0, kernel=kernel), torch.tensor(2.0, dtype=torch.float64))


def test_unbiased_estimate_between_a_cloud_and_itself_is_what_the_class_says(pair):
    x, _ = pair
    k = kernel_means(x, x, "gaussian", (1.0,), lambda i, j: i != j)
    assert_close(mmd2(x, x, (1.0,), 1.0, "unbiased"), -2 / 7 * (1 - k))


def dense_mmd2(x, y, bandwidth):
    """The default, from the whole matrix of distances and an exponential a kernel, left to autograd."""
    k = torch.cdist(torch.cat([x, y]), torch.cat([x, y]), compute_mode="donot_use_mm_for_euclid_dist").square()
    return block_difference(torch.stack([torch.exp(-k / (2 * s * bandwidth)) for s in SCALES]).mean(dim=0), len(x))


def block_difference(k, n):
    return k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean()


@pytest.mark.parametrize("chunk_rows", [None, 1, 37, 150, 1000])
def test_blocks_of_rows_change_neither_value_nor_gradient(chunk_rows):
    x, y = normal(150, 4), 1.5 * normal(70, 4, seed=1) + 0.5
    expected = value_and_gradients(lambda x, y: dense_mmd2(x, y, 3.0), x, y)
    assert_close(value_and_gradients(lambda x, y: mmd2(x, y, bandwidth=3.0, chunk_rows=chunk_rows), x, y), expected)


@pytest.mark.parametrize("sizes", [(40, 30), (150, 170)])
@pytest.mark.parametrize("kernel", ["gaussian", "laplacian", "rational_quadratic"])
def test_gradient_of_one_cloud_alone_is_that_of_both(sizes, kernel):
    x, y = normal(sizes[0], 3), normal(sizes[1], 3, seed=1) + 1
    _, grad_s, grad_t = value_and_gradients(lambda x, y: mmd2(x, y, kernel=kernel), x, y)
    assert_close(value_and_gradients(lambda x: mmd2(x, y, kernel=kernel), x)[1], grad_s)
    assert_close(value_and_gradients(lambda y: mmd2(x, y, kernel=kernel), y)[1], grad_t)
    assert not mmd2(x, y, kernel=kernel).requires_grad


@pytest.mark.parametrize("shift", [0.0, 0.3, 3.0, 30.0])
def test_repeated_squaring_in_float32_is_as_exact_as_an_exponential_a_kernel(shift):
    x, y = normal(150, 16), normal(70, 16, seed=1) + shift
    x[0] *= 100  # so that some kernels underflow
    x, y = x.float(), y.float()

    def plain(x, y):
        d2 = squared_distances(torch.cat([x, y]))
        return block_difference(torch.stack([torch.exp(d2 / (-2 * s * 40.0)) for s in SCALES]).mean(dim=0), len(x))

    expected = value_and_gradients(plain, x.double(), y.double())
    found = value_and_gradients(lambda x, y: mmd2(x, y, bandwidth=40.0), x, y)
    for ours, theirs, exact in zip(found, value_and_gradients(plain, x, y), expected, strict=True):
        error, their_error = ((a.double() - exact).abs().max() / exact.abs().max() for a in (ours, theirs))
        assert error < 1.5 * their_error + 1e-6


class LargestTensor(TorchDispatchMode):
    """Number of entries of the largest tensor that an operation returned, views included."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return out


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian", "rational_quadratic"])
def test_no_tensor_is_larger_than_the_features_or_a_block_of_rows(kernel):
    x, y = _leaves(normal(900, 8), normal(700, 8, seed=1))
    with LargestTensor() as largest:
        mmd2(x, y, kernel=kernel, chunk_rows=20).backward()
    assert largest.entries <= 5 * 20 * 1600  # five kernels of a block, against 1600 * 1600 for the whole matrix


def test_a_coincidence_of_rows_adds_nothing_to_the_gradient():
    """The Laplacian has a peak at 0: of two equal rows neither pulls the other."""
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[0.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    _, grad, _ = value_and_gradients(lambda x, y: mmd2(x, y, (1.0,), 1.0, kernel="laplacian"), x, y)
    slope = 0.25 * torch.tensor([torch.exp(torch.tensor(-1.0)), torch.exp(torch.tensor(-2.0))], dtype=torch.float64)
    # D holds 2/4 k(x_0, x_1) - 2/4 k(x_0, y_1), whose gradients point to x_1 and away from y_1.
    assert_close(grad[0], 2 * slope * torch.tensor([1.0, -1.0], dtype=torch.float64))


def test_biased_estimate_with_a_linear_kernel_is_the_distance_of_the_means(clouds):
    assert_close(mmd2(*clouds, kernel="linear"), mean_distance(*clouds), rtol=0, atol=0)


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 1.0, 1.6), (0.4, 0.85, 1.15), (0.8, 0.85, 1.15)])
def test_unbiased_estimate_has_the_right_mean_and_the_reported_error_is_its_spread(shift, least, most):
    """The spread of 200 draws is known to 5 %, so 15 % are three sigma; without a shift the error is too wide."""
    clouds = [(normal(24, 2, seed=2 * i), normal(16, 2, seed=2 * i + 1) + shift) for i in range(200)]
    found = torch.tensor([mmd2_with_error(x, y, (1.0,), 2.0) for x, y in clouds], dtype=torch.float64)
    values, errors = found.T
    # x - x' is normal with variance 2 in each of two dimensions: E k = 1/2, damped for mixed pairs by the shift.
    mixed = math.exp(-2 * shift**2 / 8) / 2
    assert abs(values.mean() - 2 * (0.5 - mixed)) <= 3 * values.std() / 200**0.5
    assert least < errors.square().mean().sqrt() / values.std() < most


def test_value_of_the_report_is_the_unbiased_estimate(clouds):
    value, _ = mmd2_with_error(*clouds, kernel="laplacian")
    assert_close(value, mmd2(*clouds, estimator="unbiased", kernel="laplacian"))
    with pytest.raises(ValueError, match="at least 4 rows"):
        mmd2_with_error(normal(3, 2), normal(9, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth must be mean, median, a positive number"),
        ({"bandwidth": "widest"}, "got 'widest'"),
        ({"bandwidth": [1.0, 0.0]}, "bandwidth"),
        ({"scales": []}, "scales must be positive"),
        ({"scales": [1.0, -1.0]}, "scales"),
        ({"estimator": "best"}, "estimator must be one of biased, unbiased, linear, block, got 'best'"),
        ({"kernel": "cubic"}, "kernel must be one of gaussian, laplacian, rational_quadratic, linear, got 'cubic'"),
        ({"block_size": 4}, "block_size must be 2 or more, with estimator=block, got 4 with biased"),
        ({"estimator": "block", "block_size": 1}, "block_size"),
        ({"estimator": "linear", "chunk_rows": 8}, "chunk_rows"),
        ({"chunk_rows": 0}, "chunk_rows"),
    ],
)
def test_mmd_refuses_what_means_nothing(options, message):
    with pytest.raises(ValueError, match=message):
        Mmd(**options)
