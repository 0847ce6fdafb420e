"""Whether two clouds of rows are alike, and whether a cloud uses the classes of another: no labels of the second."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from da.discrepancies.kernels import centred, squared_length
from da.discrepancies.mmd_error import kernel_matrix, mmd2_with_error

TIE = 1e-12  # statistics of kernels in [0, 1] that are nearer than this are equal: the rest is rounding


class MmdTest(NamedTuple):
    """Squared maximum mean discrepancy, and what it is when the domains are dealt at random."""

    value: float  # unbiased estimate, so it may be negative
    error: float  # its standard error
    dealt: float  # 95 % of those of randomly dealt domains are lower
    p: float


class Judged(NamedTuple):
    """Rows of both domains, each one seen by a classifier that was not fitted on it."""

    p_s: Float[np.ndarray, "n c"]
    p_t: Float[np.ndarray, "m c"]
    far_s: Float[np.ndarray, " n"]  # Mahalanobis distance to the mean of the own class
    far_t: Float[np.ndarray, " m"]  # and to that of the nearest one


def components(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], width: int, seed: int = 0
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "m k"], float]:
    """At most `width` principal components of the standardised rows, and the part of the variance that they hold.

    No more than a fourth of the rows either: what is fitted to them later should not fit each of them. One factor makes
    their mean variance 1. All steps take the rows as one cloud: they do not know the domains, so a permutation test
    after them stays exact. ValueError if no feature varies.
    """
    rows = torch.cat([z_s, z_t]).double().numpy()
    rows = rows[:, rows.std(axis=0) > 1e-9 * np.abs(rows).max(axis=0)]
    if not rows.shape[1]:
        raise ValueError(f"all {len(rows)} rows of both domains are equal: no feature varies")
    rows = StandardScaler().fit_transform(rows)
    pca = PCA(min(width, max(len(rows) // 4, 1), rows.shape[1]), random_state=seed)
    found = torch.from_numpy(pca.fit_transform(rows))
    found /= found.var(dim=0).mean().sqrt()
    return found[: len(z_s)], found[len(z_s) :], float(pca.explained_variance_ratio_.sum())


@torch.no_grad()
def mmd_test(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], permutations: int = 500, seed: int = 0) -> MmdTest:
    """Test that both clouds are drawn from one distribution, by MMD^2 with one Gaussian kernel, unbiased (`mmd2`).

    Gretton et al., A kernel two-sample test, JMLR 13, 2012; the bandwidth is the median of the squared distances of all
    rows (exp(-|x - y|^2 / 2b)). The p-value is (1 + #{dealt >= found}) / (1 + permutations), which is valid for any
    number of rows that are independent. One kernel matrix [n + m, n + m], in float64. ValueError for fewer than 4 rows.
    """
    n, m = len(z_s), len(z_t)
    x = centred(z_s.double(), z_t.double())
    length = float(squared_length(x, "median"))
    value, error = mmd2_with_error(x[:n], x[n:], (1.0,), length)
    k = kernel_matrix(x, (1.0,), length, "gaussian").fill_diagonal_(0)
    generator = torch.Generator().manual_seed(seed)
    dealt = torch.stack([torch.randperm(n + m, generator=generator) for _ in range(permutations)]) < n
    source = torch.cat([torch.arange(n + m)[None] < n, dealt]).double()  # [permutations + 1, n + m], the true one first
    within = ((source @ k) * source).sum(dim=1)
    either, total = source @ k.sum(dim=1), k.sum()
    of_target = total - 2 * either + within
    found = within / (n * (n - 1)) + of_target / (m * (m - 1)) - 2 * (either - within) / (n * m)
    p = (1 + int((found[1:] >= found[0] - TIE).sum())) / (1 + permutations)
    return MmdTest(float(value), float(error), float(found[1:].quantile(0.95)), p)


def judge(
    z_s: Float[Tensor, "n d"], y: Int[Tensor, " n"], z_t: Float[Tensor, "m d"], folds: int = 5, seed: int = 0
) -> Judged:
    """Class probabilities and distances to the classes of all rows, by classifiers of the source.

    Logistic regression, and Gaussians with one covariance (Ledoit-Wolf) for the distances. The features should be of
    one scale, but not each of its own: that would lift what is noise. A source row is judged by
    the classifier that was fitted on the other folds, and every target row by one of them, dealt at random: between
    equal distributions what is said of the two domains is distributed alike. Labels are 0, ..., c - 1; ValueError for
    a class of fewer rows than folds, or if there is one class.
    """
    source, target, labels = z_s.double().numpy(), z_t.double().numpy(), y.numpy()
    counts = np.bincount(labels)
    if len(counts) < 2:
        raise ValueError("the source has one class only: there is nothing to tell apart")
    if counts.min() < folds:
        raise ValueError(f"{folds} folds need {folds} rows of every class; class {counts.argmin()} has {counts.min()}")
    dealt = np.random.default_rng(seed).permutation(len(target)) % folds
    found = Judged(
        np.empty((len(source), len(counts))),
        np.empty((len(target), len(counts))),
        np.empty(len(source)),
        np.empty(len(target)),
    )
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed).split(source, labels)
    for fold, (fitted, held_out) in enumerate(cut):
        own = dealt == fold
        classifier = LogisticRegression(max_iter=1000)
        classifier.fit(source[fitted], labels[fitted])
        found.p_s[held_out] = classifier.predict_proba(source[held_out])
        means = np.stack([source[fitted][labels[fitted] == c].mean(axis=0) for c in range(len(counts))])
        shape = LedoitWolf(assume_centered=True).fit(source[fitted] - means[labels[fitted]])
        found.far_s[held_out] = shape.mahalanobis(source[held_out] - means[labels[held_out]]) ** 0.5
        if own.any():
            found.p_t[own] = classifier.predict_proba(target[own])
            found.far_t[own] = np.min([shape.mahalanobis(target[own] - mean) for mean in means], axis=0) ** 0.5
    return found
