"""How far probabilities can be believed: calibration errors, and a temperature without target labels."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy.optimize import brentq
from torch import Tensor

BINS = 15
"""As many as the calibration error is usually reported with (Guo et al. 2017)."""
COOLEST, HOTTEST = 1.0, 1e3
"""Temperatures between which TransCal looks: a network is cooled down, never heated up."""


class Bins(NamedTuple):
    """A reliability diagram: what falls into equal bins of confidence. NaN in the means of an empty one."""

    rows: Int[Tensor, " b"] | Float[Tensor, " b"]
    confidence: Float[Tensor, " b"]  # mean largest probability
    accuracy: Float[Tensor, " b"]


def reliability(p: Float[Tensor, "n c"], y: Int[Tensor, " n"], bins: int = BINS) -> Bins:
    """Return confidence and accuracy of rows in `bins` equal intervals (k/b, (k+1)/b] of their largest probability."""
    confidence, predicted = p.double().max(dim=1)
    of_bin = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = torch.bincount(of_bin, minlength=bins)
    right = (predicted == y).double()
    means = [torch.bincount(of_bin, weights=part, minlength=bins) / count for part in (confidence, right)]
    return Bins(count, *means)


def expected_calibration_error(found: Bins) -> float:
    """Mean over the rows of |confidence - accuracy| of their bin (Naeini et al. 2015; Guo et al. 2017, eq. 3)."""
    there = found.rows > 0
    gaps = (found.confidence - found.accuracy)[there].abs()
    return float((gaps * found.rows[there]).sum() / found.rows.sum())


def brier_score(p: Float[Tensor, "n c"], y: Int[Tensor, " n"]) -> float:
    """Mean squared distance of the probabilities from the one-hot label (Brier 1950): 0 to 2."""
    p = p.double()
    return float((p - torch.nn.functional.one_hot(y, p.shape[1])).square().sum(dim=1).mean())


class TransferableTemperature(NamedTuple):
    """What `transcal` found."""

    temperature: float
    meta: float  # the power of the importance weights
    accuracy: float  # of the target, estimated without its labels


def target_accuracy(
    right: Float[Tensor, " n"], weights: Float[Tensor, " n"], source_confidence: float, meta: float = 1.0
) -> float:
    """Estimate the target's accuracy by weighted source rows, with the serial control variates of TransCal.

    Wang, Long, Wang & Jordan, Transferable calibration with lower bias and variance in domain adaptation, NeurIPS 2020,
    section 4: the mean of w^meta (1 - right), with eta_1 (w^meta - 1) and then eta_2 (right - source confidence) added,
    whose expectations are 0 and whose coefficients make the variance least.

    Args:
        right: 1 where a held-out source row is predicted right, else 0.
        weights: density of the target over that of the source at these rows; made to have a mean of 1.
        source_confidence: mean largest probability on the source, calibrated: what `right` should be in the mean.
        meta: power of the weights, in [0, 1]: less bounds the variance, at the cost of a bias.
    """
    w = (weights.double() / weights.double().mean()) ** meta
    right = right.double()
    error = w * (1 - right)
    eta_1 = -_slope(error, w)
    controlled = error + eta_1 * (w - 1)
    eta_2 = -_slope(controlled, right)
    risk = float(controlled.mean() + eta_2 * (right.mean() - source_confidence))
    return min(max(1 - risk, 0.0), 1.0)


def _slope(a: Tensor, b: Tensor) -> Tensor:
    """Covariance of a and b over the variance of b; 0 where b is constant."""
    centred = b - b.mean()
    variance = centred.square().sum()
    return (centred * (a - a.mean())).sum() / variance if variance > 0 else variance


def transcal(
    target_logits: Float[Tensor, "m c"],
    right: Float[Tensor, " n"],
    weights: Float[Tensor, " n"],
    source_confidence: float,
) -> TransferableTemperature:
    """Return the temperature at which the target's mean confidence is its estimated accuracy (TransCal, eq. 10).

    The paper searches temperature and `meta` together for the least difference of the two, which many pairs bring to 0.
    Here the largest power of the weights, in steps of a tenth, that has a solution with T >= 1 is taken, as the least
    biased one. Where none has, the T that comes nearest for meta = 1: 1 if the network is surer of itself than
    that nowhere. Arguments are those of `target_accuracy`.
    """
    z = target_logits.double()

    def confidence(temperature: float) -> float:
        return float((z / temperature).softmax(dim=1).amax(dim=1).mean())

    highest, lowest = confidence(COOLEST), confidence(HOTTEST)
    for tenths in range(10, -1, -1):
        accuracy = target_accuracy(right, weights, source_confidence, tenths / 10)
        if lowest < accuracy <= highest:
            root = brentq(lambda t, a=accuracy: confidence(t) - a, COOLEST, HOTTEST, xtol=1e-10)
            return TransferableTemperature(float(root), tenths / 10, accuracy)
    accuracy = target_accuracy(right, weights, source_confidence)
    return TransferableTemperature(COOLEST if accuracy > highest else HOTTEST, 1.0, accuracy)
