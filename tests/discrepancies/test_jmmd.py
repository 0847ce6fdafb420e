"""Joint MMD against the sums of the paper; what holds for Lmmd and Cdd, too, is in test_joint_and_conditional.py."""

from functools import partial

import pytest
import torch
from conftest import config, normal
from torch.autograd import grad
from torch.testing import assert_close

from da.benchmark.suite import find_suite
from da.build import build
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
    assert_close(mean, naive_unbiased(s, t, b))


def naive_unbiased(s, t, bandwidths):
    k, n, m = partial(joint_kernel, bandwidths=bandwidths), len(s[0]), len(t[0])
    within_s = sum(k(s, i, s, j) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_t = sum(k(t, i, t, j) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_s + within_t - 2 * sum(k(s, i, t, j) for i in range(n) for j in range(m)) / (n * m)


def test_unbiased_jmmd_equals_the_double_sum_without_the_diagonal():
    s, t, b = layers(normal(7, 3)), layers(normal(5, 3, seed=1) + 1), (1.5, 0.7)
    assert_close(Jmmd(SCALES, b, "unbiased")(s, t), naive_unbiased(s, t, b))


def test_the_recipe_of_jan_in_the_suites_has_the_gradient_of_tll():
    """TLL adds up five kernels on the features, where ours is their mean, and has one of sigma = 0.92 on predictions.

    Its mean squared distance counts the zeros of a row with itself, too: 1.6 % less than ours at 64 rows.
    """
    (recipe,) = {find_suite(name).methods["jan"].options for name in ("office31", "visda")}
    words = [word for word in recipe if "jmmd" in word]
    cfg = config("data=toy", "net=mlp", "method=jan", *words).method
    features = [normal(8, 16).relu().requires_grad_(), (normal(8, 16, seed=1) + 0.2).relu().requires_grad_()]
    shares = [normal(8, 4, seed=2 + k).softmax(dim=1).requires_grad_() for k in (0, 1)]
    own = build(cfg.terms.jmmd.discrepancy, "jmmd")([features[0], shares[0]], [features[1], shares[1]])
    weight = build(cfg.weights.jmmd, "jmmd")(0.5)
    distances = [((z[None] - z[:, None]) ** 2).sum(dim=2) for z in (torch.cat(features), torch.cat(shares))]
    mean = distances[0].detach().sum() / (16 * 15)
    k = sum(torch.exp(-distances[0] / (2 * 2.0**a * mean)) for a in range(-3, 2))
    k = k * torch.exp(-distances[1] / (2 * 0.92**2))
    sign = torch.tensor([1.0] * 8 + [-1.0] * 8, dtype=torch.float64)
    share = torch.where(sign[:, None] == sign, 1 / (8 * 7), 1 / 8**2) * (1 - torch.eye(16))
    theirs = (k * share * sign[:, None] * sign).sum()
    for x in features + shares:
        assert_close(weight * grad(own, x, retain_graph=True)[0], grad(theirs, x, retain_graph=True)[0])


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


@pytest.mark.parametrize("estimator", ["biased", "unbiased", "linear"])
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
        Jmmd(estimator="quadratic")


@pytest.mark.parametrize("estimator", ["biased", "unbiased", "linear"])
def test_jmmd_says_which_layers_do_not_fit(estimator, clouds):
    x, y = clouds
    for source, target, bandwidths in ([x], [y, y], "mean"), ([x], [y], [1.0, 2.0]), ([], [], "mean"):
        with pytest.raises(ValueError, match="source layers, . target layers and . bandwidths"):
            Jmmd(bandwidths=bandwidths, estimator=estimator)(source, target)
    with pytest.raises(ValueError, match=r"target layers have \[17, 16\] rows"):
        Jmmd(estimator=estimator)([x, x], [y, y[1:]])


@pytest.mark.parametrize("estimator", ["unbiased", "linear"])
def test_jmmd_without_pairs_of_a_row_with_itself_needs_two_rows(estimator):
    with pytest.raises(ValueError, match="at least 2 rows, got 5 source and 1 target"):
        Jmmd(estimator=estimator)([normal(5, 3)], [normal(1, 3)])


@pytest.mark.parametrize("estimator", ["biased", "unbiased", "linear"])
def test_constant_features_give_a_gradient_under_narrow_kernels(estimator):
    z = torch.zeros(4, 3, requires_grad=True)
    Jmmd((1e-3,), estimator=estimator)([z], [z.detach()]).backward()
    assert_close(z.grad, torch.zeros(4, 3), rtol=0, atol=0)
