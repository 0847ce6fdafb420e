"""What simple classifiers can tell from features: the classes of labelled rows, or the domains they come from."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

one_thread = threadpool_limits.wrap(limits=1)
"""Thousands of small products: threads of several processes that wait for one another made them 35 times slower."""


class Distance(NamedTuple):
    """A distance and its 95 % interval."""

    value: float
    low: float
    high: float


@one_thread
def knn_accuracy(z: Float[Tensor, "n d"], y: Int[Tensor, " n"], k: int = 5) -> float:
    """Share of rows whose class is that of most of their k nearest other rows; of equally many the smaller label."""
    features, labels = z.double().numpy(), y.numpy()
    if not 1 <= k < len(labels):
        raise ValueError(f"k={k} must be at least 1 and less than the {len(labels)} rows")
    near = NearestNeighbors(n_neighbors=k).fit(features).kneighbors(return_distance=False)  # never the row itself
    votes = np.apply_along_axis(np.bincount, 1, labels[near], minlength=labels.max() + 1)
    return float((votes.argmax(axis=1) == labels).mean())


@one_thread
def linear_probe(z: Float[Tensor, "n d"], y: Int[Tensor, " n"], folds: int = 5, seed: int = 0) -> float:
    """Accuracy of logistic regression on standardised features, each row predicted from the other folds.

    ValueError for a class with fewer rows than folds.
    """
    labels = y.numpy()
    found = cross_val_predict(_classifier(), z.double().numpy(), labels, cv=_cut(labels, folds, seed))
    return float((found == labels).mean())


def proxy_a_distance(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    folds: int = 5,
    seed: int = 0,
    weights: Float[Tensor, " n"] | None = None,
) -> Distance:
    """2 (1 - 2 e), e being the error of telling the domains apart: about 0 for equal ones, 2 for disjoint ones.

    Ben-David et al., Analysis of representations for domain adaptation, NIPS 2006. The classifier is that of
    `domain_log_odds`, judged on rows it did not see; see `distance_of`. `weights` are those of the source's rows, in
    training and in judging: such as make its classes as frequent as the target's.
    """
    return distance_of(domain_log_odds(z_s, z_t, folds, seed, weights), len(z_s), weights)


def distance_of(log_odds: Float[Tensor, " rows"], n: int, weights: Float[Tensor, " n"] | None = None) -> Distance:
    """Return the A-distance that log odds of the target give, at n rows of the source and then rows of the target.

    e is the mean of both domains' errors, so their numbers of rows may differ. Its interval is that of the judged rows
    (normal), not of another training. The value may fall below 0: where there is nothing to tell, the classifier is
    wrong as often as not.
    """
    ones = torch.ones(len(log_odds) - n, dtype=torch.float64)
    w_s = torch.ones(n, dtype=torch.float64) if weights is None else weights.double()
    # An error of 1 is exceeded by rounding only.
    pairs = [(w / w.sum(), wrong.double()) for w, wrong in ((w_s, log_odds[:n] > 0), (ones, log_odds[n:] <= 0))]
    errors = [min(float(share @ wrong), 1.0) for share, wrong in pairs]
    variance = sum(e * (1 - e) * float(share @ share) for e, (share, _) in zip(errors, pairs, strict=True)) / 4
    value, half = 2 * (1 - sum(errors)), 4 * float(norm.ppf(0.975)) * variance**0.5
    return Distance(value, value - half, value + half)


@one_thread
def domain_log_odds(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    folds: int = 5,
    seed: int = 0,
    weights: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, " rows"]:
    """Log odds of the target at each row of both domains, by a classifier that was fitted on the other folds.

    Logistic regression on standardised features. Both domains weigh the same in it, however many rows they have, so
    the odds estimate the ratio of the densities p_t / p_s (Bickel et al. 2007). `weights` are those of the source's
    rows. ValueError for a domain with fewer rows than folds.
    """
    features = np.concatenate([z_s.double().numpy(), z_t.double().numpy()])
    domain = np.repeat([0, 1], [len(z_s), len(z_t)])
    # Odds show where the fit stops, labels hardly do: with 1e-4, rounding of the features moved risks in the 4th digit.
    classifier, cut = _classifier(tolerance=1e-6), _cut(domain, folds, seed)
    w = None if weights is None else np.append(weights.double().numpy() / float(weights.mean()), np.ones(len(z_t)))
    weighed = {} if w is None else {"logisticregression__sample_weight": w}
    return torch.from_numpy(
        cross_val_predict(classifier, features, domain, cv=cut, method="decision_function", params=weighed)
    )


@one_thread
def source_probabilities(z: Float[Tensor, "n d"], y: Int[Tensor, " n"]) -> Callable[[Tensor], Tensor]:
    """Return what gives rows [m, d] the probabilities [m, c] of the classes of `y`: logistic regression on `z` and `y`.

    ValueError where `y` has one class only.
    """
    classifier = _classifier().fit(z.double().numpy(), y.numpy())
    return lambda rows: torch.from_numpy(classifier.predict_proba(rows.double().numpy()))


def _classifier(tolerance: float = 1e-4) -> Pipeline:
    """Logistic regression on standardised features, in which every class weighs the same."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced", tol=tolerance))


def _cut(labels: np.ndarray, folds: int, seed: int) -> StratifiedKFold:
    if (fewest := np.unique(labels, return_counts=True)[1].min()) < folds:
        raise ValueError(f"{folds} folds need {folds} rows of every class or domain; one has {fewest}")
    return StratifiedKFold(folds, shuffle=True, random_state=seed)
