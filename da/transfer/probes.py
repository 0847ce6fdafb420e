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
    return float((_predicted(z.double().numpy(), y.numpy(), folds, seed) == y.numpy()).mean())


@one_thread
def proxy_a_distance(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    folds: int = 5,
    seed: int = 0,
    weights: Float[Tensor, " n"] | None = None,
) -> Distance:
    """2 (1 - 2 e), e being the error of telling the domains apart: about 0 for equal ones, 2 for disjoint ones.

    Ben-David et al., Analysis of representations for domain adaptation, NIPS 2006. The classifier is logistic
    regression, judged on rows it did not see; e is the mean of both domains' errors, so n and m may differ. Its
    interval is that of the judged rows (normal), not of another training. The value may fall below 0: where there is
    nothing to tell, the classifier is wrong as often as not. `weights` are those of the source's rows, in training and
    in judging: such as make its classes as frequent as the target's.
    """
    features = np.concatenate([z_s.double().numpy(), z_t.double().numpy()])
    domain = np.repeat([0, 1], [len(z_s), len(z_t)])
    w = None if weights is None else np.append(weights.double().numpy() / float(weights.mean()), np.ones(len(z_t)))
    wrong = _predicted(features, domain, folds, seed, w) != domain
    shares = [(np.ones(len(domain)) if w is None else w)[domain == d] for d in (0, 1)]
    shares = [share / share.sum() for share in shares]
    errors = [min(share @ wrong[domain == d], 1.0) for d, share in enumerate(shares)]  # more by rounding only
    variance = sum(e * (1 - e) * (share @ share) for e, share in zip(errors, shares, strict=True)) / 4
    value, half = 2 * (1 - sum(errors)), 4 * norm.ppf(0.975) * variance**0.5
    return Distance(float(value), float(value - half), float(value + half))


@one_thread
def domain_odds(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], folds: int = 5, seed: int = 0
) -> Float[Tensor, " n"]:
    """Odds of the target at each source row, by a classifier of the domains that was fitted on the other folds.

    Both domains weigh the same in it, however many rows they have, so the odds estimate the ratio of the densities
    p_t / p_s (Bickel et al. 2007). Logistic regression on standardised features. ValueError for a domain with fewer
    rows than folds.
    """
    features = np.concatenate([z_s.double().numpy(), z_t.double().numpy()])
    domain = np.repeat([0, 1], [len(z_s), len(z_t)])
    # Odds show where the fit stops, labels hardly do: with 1e-4, rounding of the features moved risks in the 4th digit.
    classifier, cut = _classifier(tolerance=1e-6), _cut(domain, folds, seed)
    log_odds = cross_val_predict(classifier, features, domain, cv=cut, method="decision_function")
    return torch.from_numpy(log_odds[: len(z_s)]).exp()


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


def _predicted(
    features: np.ndarray, labels: np.ndarray, folds: int, seed: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """The label of every row by a classifier fitted on the other folds, where rows may weigh."""
    cut = _cut(labels, folds, seed)
    weighed = {} if weights is None else {"logisticregression__sample_weight": weights}
    return np.asarray(cross_val_predict(_classifier(), features, labels, cv=cut, params=weighed))
