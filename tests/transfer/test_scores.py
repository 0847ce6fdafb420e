"""Transferability scores against naive versions of their papers, closed forms, and what they promise."""

import math

import numpy as np
import pytest
import torch
from conftest import normal
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from da.transfer import scores

N, D, C = 60, 5, 3
Y = torch.arange(N) % C
SCORES = {
    "h_score": scores.h_score,
    "regularised_h_score": scores.regularised_h_score,
    "log_me": scores.log_me,
    "trans_rate": scores.trans_rate,
    "gbc": scores.gbc,
}


def features(shift=1.0, n=N, d=D, seed=0):
    """Normal rows whose class means lie `shift` apart on the first axes."""
    z = normal(n, d, seed=seed)
    z[:, :C] += shift * torch.eye(C, dtype=z.dtype)[torch.arange(n) % C]
    return z


def predictions(n=N, z=4, seed=0):
    return (2 * normal(n, z, seed=seed)).softmax(dim=1)


def test_leep_is_the_mean_log_of_the_expected_prediction():
    p = predictions()
    total = 0.0
    for i in range(N):
        expected = 0.0
        for z in range(4):
            joint = sum(float(p[j, z]) for j in range(N) if Y[j] == Y[i])
            expected += float(p[i, z]) * joint / sum(float(p[j, z]) for j in range(N))
        total += math.log(expected)
    assert scores.leep(p, Y) == pytest.approx(total / N, rel=1e-12)


def test_of_certain_predictions_leep_is_nce():
    z = predictions().argmax(dim=1)
    certain = torch.nn.functional.one_hot(z, 4).double()
    assert scores.leep(certain, Y) == pytest.approx(scores.nce(z, Y), rel=1e-12)


def test_nce_is_minus_a_conditional_entropy():
    z, expected = predictions().argmax(dim=1), 0.0
    for k in range(4):
        own = Y[z == k]
        for c in range(C):
            share = float((own == c).double().mean())
            expected += len(own) / N * (share * math.log(share) if share else 0.0)
    assert scores.nce(z, Y) == pytest.approx(expected, rel=1e-12)
    assert scores.nce(Y, Y) == 0
    assert scores.nce(torch.zeros_like(Y), Y) == pytest.approx(-math.log(C))  # a constant says nothing


def test_h_score_of_two_gaussians_has_a_closed_form():
    """Means ±m of two balanced classes, identity inside: m^T (I + m m^T)^-1 m = |m|² / (1 + |m|²)."""
    m = torch.tensor([0.8, -0.5, 0.3], dtype=torch.float64)
    y = torch.arange(400_000) % 2
    z = normal(len(y), 3) + (2 * y - 1)[:, None] * m
    expected = float(m.square().sum() / (1 + m.square().sum()))
    assert scores.h_score(z, y) == pytest.approx(expected, abs=0.005)


def test_h_score_is_what_no_invertible_map_changes_and_ends_at_c_minus_1():
    z = features()
    assert scores.h_score(z @ normal(D, D, seed=3) + 7, Y) == pytest.approx(scores.h_score(z, Y), rel=1e-9)
    assert scores.h_score(torch.eye(C, dtype=torch.float64)[Y], Y) == pytest.approx(C - 1)
    constant = torch.cat([z, torch.full((N, 2), 3.0, dtype=z.dtype)], dim=1)
    assert scores.h_score(constant, Y) == pytest.approx(scores.h_score(z, Y), rel=1e-9)


def test_regularised_h_score_shrinks_as_scikit_learn_does():
    z = features(d=40)
    fitted = LedoitWolf().fit(z.numpy())
    means = np.stack([z[c == Y].mean(dim=0).numpy() for c in Y])
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.inv(fitted.covariance_) @ between) * (1 - fitted.shrinkage_)
    assert scores.regularised_h_score(z, Y) == pytest.approx(expected, rel=1e-9)
    many = features(n=30_000)
    labels = torch.arange(30_000) % C
    assert scores.regularised_h_score(many, labels) == pytest.approx(scores.h_score(many, labels), rel=0.01)


def evidence(z, target, alpha, beta):
    """Log density of a target under its Gaussian: noise 1/beta, and z times weights of variance 1/alpha."""
    covariance = np.eye(len(z)) / beta + z @ z.T / alpha
    return multivariate_normal(np.zeros(len(z)), covariance).logpdf(target)


@pytest.mark.parametrize("d", [5, 90])
def test_log_me_is_the_largest_evidence(d):
    z = features(d=d).numpy()
    total = 0.0
    for c in range(C):
        target = (c == Y).double().numpy()
        best = minimize(lambda x, t=target: -evidence(z, t, *np.exp(x)), [0.0, 0.0], method="Nelder-Mead", tol=1e-10)
        total -= best.fun / N
    assert scores.log_me(torch.from_numpy(z), Y, steps=10_000) == pytest.approx(total / C, rel=1e-5)


def test_log_me_of_few_rows_that_the_features_fit_without_noise_is_that_limit():
    """The largest evidence has no noise: a Gaussian of covariance z z^T / alpha, alpha = n / (t^T (z z^T)^-1 t)."""
    z, y = features(shift=8.0, n=12, d=40), torch.arange(12) % C
    gram, total = (z @ z.T).numpy(), 0.0
    for c in range(C):
        target = (c == y).double().numpy()
        alpha = 12 / (target @ np.linalg.solve(gram, target))
        best = multivariate_normal(np.zeros(12), gram / alpha).logpdf(target)
        assert all(evidence(z.numpy(), target, alpha, beta) <= best for beta in (1e1, 1e3, 1e5))
        total += best / 12
    assert scores.log_me(z, y) == pytest.approx(total / C, rel=1e-6)


def test_trans_rate_is_a_difference_of_entropies_for_many_rows():
    """Of Gaussians, small eps: the log of how much less the classes fill than all do."""
    y = torch.arange(60_000) % C
    z = features(shift=2.0, n=60_000)
    centred = z - z.mean(dim=0)
    expected = torch.logdet(torch.cov(centred.T))
    for c in range(C):
        part = centred[y == c]
        expected = expected - torch.logdet(part.T @ part / len(part)) / C
    assert scores.trans_rate(z, y, eps=1e-8) == pytest.approx(float(expected) / 2, rel=1e-3)
    wide = features(d=100)
    centred = wide - wide.mean(dim=0)
    rate = torch.logdet(torch.eye(100, dtype=wide.dtype) + centred.T @ centred / (N * 1e-4)) / 2
    for c in range(C):
        part = centred[c == Y]
        rate = rate - torch.logdet(torch.eye(100, dtype=wide.dtype) + part.T @ part / (len(part) * 1e-4)) / (2 * C)
    assert scores.trans_rate(wide, Y) == pytest.approx(float(rate), rel=1e-9)


@pytest.mark.parametrize("kind", ["diagonal", "spherical"])
def test_gbc_sums_the_overlaps_of_all_pairs(kind):
    z, total = features(), 0.0
    for i in range(C):
        for j in range(C):
            if i != j:
                a, b = z[i == Y], z[j == Y]
                v, w = a.var(dim=0, unbiased=False), b.var(dim=0, unbiased=False)
                if kind == "spherical":
                    v, w = v.mean().expand(D), w.mean().expand(D)
                middle = torch.diag((v + w) / 2)
                gap = a.mean(dim=0) - b.mean(dim=0)
                distance = gap @ torch.linalg.inv(middle) @ gap / 8
                distance = distance + torch.log(middle.det() / (v.prod() * w.prod()).sqrt()) / 2
                total -= math.exp(-distance)
    assert scores.gbc(z, Y, kind) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("name", SCORES)
def test_classes_further_apart_score_higher_and_order_of_rows_and_names_does_not_matter(name):
    score = SCORES[name]
    values = [score(features(shift), Y) for shift in (0.0, 1.0, 3.0)]
    assert values == sorted(values)
    assert values[2] > values[0]
    z, order = features(), torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert score(z[order], Y[order]) == pytest.approx(score(z, Y), rel=1e-9)
    assert score(z, (Y + 1) % C) == pytest.approx(score(z, Y), rel=1e-9)
    assert score(z.float(), Y) == pytest.approx(score(z, Y), rel=1e-4)


def test_a_class_without_rows_or_of_one_row_is_named():
    with pytest.raises(ValueError, match="no row"):
        scores.gbc(features(), torch.where(Y == 1, 2, Y))
    with pytest.raises(ValueError, match="gbc needs two rows of every class"):
        scores.gbc(features(n=4), torch.tensor([0, 0, 1, 2]))
