"""Class shares of unlabelled rows, from what a classifier of the source says of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import nnls

Probabilities = Float[np.ndarray, "n c"]
Labels = Int[np.ndarray, " n"]
Shares = Float[np.ndarray, " c"]

SUM = 1e3  # weight of "the shares sum to 1" beside the other equations


class LabelShift(NamedTuple):
    """Class shares of both domains, the target's by two estimates."""

    source: Shares
    target: Shares  # BBSE
    low: Shares  # 95 % interval of it
    high: Shares
    em: Shares  # the other estimate
    distance: float  # total variation of target from source, from 0 to 1
    p: float  # of such a distance, or more, if the target were drawn from the source
    singular: float  # smallest singular value of the confusion matrix: 1 for a perfect classifier, 0 for a blind one


def confusion(p: Probabilities, y: Labels) -> Float[np.ndarray, "c c"]:
    """Column j is the mean prediction for rows of class j; every class occurs."""
    return np.stack([p[y == c].mean(axis=0) for c in range(p.shape[1])], axis=1)


def bbse(matrix: Float[np.ndarray, "c c"], mean: Shares) -> Shares:
    """Return the shares q that explain the target's mean prediction best: min |matrix q - mean|, q >= 0, sum q = 1.

    Lipton, Wang & Smola, Detecting and correcting for label shift with black box predictors, ICML 2018: there the
    weights w = C^-1 mean with C the joint confusion matrix, and q = w times the source's shares. Here with predicted
    probabilities in the place of predicted classes, and the constraints in the place of cutting off what is negative.
    """
    c = len(mean)
    q, _ = nnls(np.vstack([matrix, np.full((1, c), SUM)]), np.append(mean, SUM), maxiter=100 * c)
    return np.asarray(q / q.sum())


def saerens(p: Probabilities, prior: Shares, steps: int = 1000, tolerance: float = 1e-8) -> Shares:
    """Return the shares of maximum likelihood, by EM from `prior`, the shares that the classifier was fitted with.

    Saerens, Latinne & Decaestecker, Adjusting the outputs of a classifier to new a priori probabilities, Neural
    Computation 14, 2002, eq. 2.9. It needs calibrated probabilities, which BBSE does not.
    """
    shares = prior
    for _ in range(steps):
        weighted = p * (shares / prior)
        before, shares = shares, (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(shares - before).max() < tolerance:
            break
    return shares


def label_shift(
    p_s: Probabilities, y: Labels, p_t: Float[np.ndarray, "m c"], resamples: int = 500, seed: int = 0
) -> LabelShift:
    """Estimate the target's class shares, with an interval of the bootstrap over the rows of both domains.

    All of it assumes label shift: that the rows of a class look alike in both domains, p(x | y) being the same. The
    p-value compares the distance with those found when both domains are drawn from the source's rows; it is
    one of the bootstrap, right for many rows.

    Args:
        p_s: probabilities for source rows by classifiers that did not see them.
        y: their labels 0, ..., c - 1, all of which occur.
        p_t: probabilities for target rows by the same classifiers.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    random, (n, c), m = np.random.default_rng(seed), p_s.shape, len(p_t)
    matrix, prior = confusion(p_s, y), np.bincount(y, minlength=c) / n
    by_class = p_s[np.argsort(y, kind="stable")]
    first = np.append(0, np.bincount(y).cumsum()[:-1])  # where each class begins

    def drawn() -> tuple[Float[np.ndarray, "c c"], Shares]:
        """The confusion matrix and the shares of as many source rows, drawn with replacement."""
        times = random.multinomial(n, np.full(n, 1 / n))
        counts = np.add.reduceat(times, first)
        again = np.add.reduceat(times[:, None] * by_class, first).T / np.maximum(counts, 1)
        return np.where(counts > 0, again, matrix), counts / n  # a class that was not drawn keeps its column

    def mean_of(p: Probabilities) -> Shares:
        return random.multinomial(m, np.full(len(p), 1 / len(p))) @ p / m

    estimates, distances = np.empty((resamples, c)), np.empty(resamples)
    for i in range(resamples):
        estimates[i] = bbse(drawn()[0], mean_of(p_t))
        again, shares = drawn()
        distances[i] = _variation(bbse(again, mean_of(p_s)), shares)
    target = bbse(matrix, p_t.mean(axis=0))
    distance = _variation(target, prior)
    low, high = np.quantile(estimates, [0.025, 0.975], axis=0)
    p = (1 + int((distances >= distance).sum())) / (1 + resamples)
    singular = float(np.linalg.svd(matrix, compute_uv=False)[-1])
    return LabelShift(prior, target, low, high, saerens(p_t, prior), distance, p, singular)


def _variation(a: Shares, b: Shares) -> float:
    return float(np.abs(a - b).sum() / 2)
