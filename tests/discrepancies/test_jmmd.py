"""Joint MMD against the sums of the paper; what holds for Lmmd and Cdd, too, is in test_joint_and_conditional.py."""

from functools import partial

import pytest
import torch
from conftest import normal
from torch.testing import assert_close

from da.discrepancies.jmmd import Jmmd, gaussian_kernel
from da.discrepancies.mmd import mmd2

SCALES = (0.5, 2.0)


def naive_kernel(a, b, bandwidth, scales=SCALES):
    d2 = (a - b) @ (a - b)
    return sum(torch.exp(-d2 / (2 * s * bandwidth)) for s in scales) / len(scales)


def joint_kernel(layers_a, i, layers_b, j, bandwidths):
    product = 1
    for a, b, bandwidth in zip(layers_a, layers_b, bandwidths, strict=True):
        product = product * naive_kernel(a[i], b[j], bandwidth)
    return product


def layers(z):
    """Two layers of one cloud, of different width."""
    return [z, torch.tanh(z[:, :2] - z[:, 1:3])]


def test_jmmd_equals_the_double_sum_of_the_product_of_the_kernels():
    s, t, b = layers(normal(7, 3)), layers(normal(5, 3, seed=1) + 1), (1.5, 0.7)
    k = partial(joint_kernel, bandwidths=b)
    within_s = sum(k(s, i, s, j) for i in range(7) for j in range(7)) / 49
    within_t = sum(k(t, i, t, j) for i in range(5) for j in range(5)) / 25
    between = sum(k(s, i, t, j) for i in range(7) for j in range(5)) / 35
    assert_close(Jmmd(SCALES, b)(s, t), within_s + within_t - 2 * between)


def test_linear_jmmd_equals_the_sum_over_the_pairs_of_neighbouring_rows():
    s, t, b = layers(normal(9, 3)), layers(normal(6, 3, seed=1) + 1), (1.5, 0.7)
    k = partial(joint_kernel, bandwidths=b)
    pairs = [(i, i + 1) for i in (0, 2, 4)]  # 6 rows of each: the source's rows 6, 7 and 8 have no partners
    total = sum(k(s, i, s, j) + k(t, i, t, j) - k(s, i, t, j) - k(t, i, s, j) for i, j in pairs)
    assert_close(Jmmd(SCALES, b, "linear")(s, t), 2 / 6 * total)


def test_the_mean_over_all_pairings_of_linear_jmmd_is_the_unbiased_double_sum():
    s, t, b = layers(normal(4, 3)), layers(normal(4, 3, seed=1) + 1), (1.5, 0.7)
    rows = torch.cartesian_prod(*[torch.arange(4)] * 4)
    orders = rows[[len(set(row.tolist())) == 4 for row in rows]]
    linear = Jmmd(SCALES, b, "linear")
    mean = sum(linear([z[i] for z in s], [z[j] for z in t]) for i in orders for j in orders) / len(orders) ** 2
    k = partial(joint_kernel, bandwidths=b)
    within = sum(k(x, i, x, j) for x in (s, t) for i in range(4) for j in range(4) if i != j) / 12
    between = sum(k(s, i, t, j) for i in range(4) for j in range(4)) / 16
    assert_close(mean, within - 2 * between)


def test_jmmd_of_one_layer_is_mmd(clouds):
    x, y = clouds
    assert_close(Jmmd()([x], [y]), mmd2(x, y))


def test_a_constant_layer_changes_nothing(clouds):
    x, y = clouds
    assert_close(Jmmd()([x, torch.ones_like(x)], [y, torch.ones_like(y)]), Jmmd()([x], [y]))


def test_jmmd_sees_two_layers_that_moved_together_where_each_alone_did_not():
    x = normal(60, 2)
    other = x.roll(1, dims=0)  # the same rows, paired otherwise
    alone = Jmmd()([x], [other])
    assert_close(alone, torch.zeros_like(alone), atol=1e-12, rtol=0)
    assert Jmmd()([x, x], [x, other]) > 0.02


@pytest.mark.parametrize("estimator", ["biased", "linear"])
def test_mean_bandwidth_is_the_mean_squared_distance_of_all_pairs_of_rows(estimator):
    s, t = layers(normal(7, 3)), layers(normal(5, 3, seed=1) + 1)
    b = [float((torch.pdist(torch.cat(pair)) ** 2).mean()) for pair in zip(s, t, strict=True)]
    assert_close(Jmmd(SCALES, "mean", estimator)(s, t), Jmmd(SCALES, b, estimator)(s, t))


def test_bandwidths_may_be_of_another_kind_in_each_layer(clouds):
    s, t = layers(clouds[0]), layers(clouds[1])
    first, second = (torch.cat(pair) for pair in zip(s, t, strict=True))
    k = gaussian_kernel(first, SCALES, "median") * gaussian_kernel(second, (1.0,), 0.92**2)
    sign = torch.cat([k.new_full((24,), 1 / 24), k.new_full((17,), -1 / 17)])
    assert_close(Jmmd(SCALES, ["median", [0.92**2]])(s, t), sign @ k @ sign)


def test_refuses_an_unknown_estimator():
    with pytest.raises((ValueError, TypeError), match="estimator"):  # a TypeError from the check of the annotations
        Jmmd(estimator="unbiased")


@pytest.mark.parametrize("estimator", ["biased", "linear"])
def test_jmmd_says_which_layers_do_not_fit(estimator, clouds):
    x, y = clouds
    for source, target, bandwidths in ([x], [y, y], "mean"), ([x], [y], [1.0, 2.0]), ([], [], "mean"):
        with pytest.raises(ValueError, match="source layers, . target layers and . bandwidths"):
            Jmmd(bandwidths=bandwidths, estimator=estimator)(source, target)
    with pytest.raises(ValueError, match=r"target layers have \[17, 16\] rows"):
        Jmmd(estimator=estimator)([x, x], [y, y[1:]])


def test_linear_jmmd_needs_two_rows():
    with pytest.raises(ValueError, match="at least 2 rows, got 5 source and 1 target"):
        Jmmd(estimator="linear")([normal(5, 3)], [normal(1, 3)])


@pytest.mark.parametrize("estimator", ["biased", "linear"])
def test_constant_features_give_a_gradient_under_narrow_kernels(estimator):
    z = torch.zeros(4, 3, requires_grad=True)
    Jmmd((1e-3,), estimator=estimator)([z], [z.detach()]).backward()
    assert_close(z.grad, torch.zeros(4, 3), rtol=0, atol=0)
