"""What several teachers say of the same rows, combined into one distribution a row; and their temperatures.

Predictions are log-probabilities [k, n, c] of k teachers for n rows.
"""

from typing import Literal, NamedTuple, get_args

import torch
from scipy.optimize import brentq
from torch import Tensor
from torch.nn import functional as F

from da.distributed import mean_over_ranks

Rule = Literal["union", "intersection", "extension"]
Weighing = Literal["uniform", "entropy", "similarity", "infomax"]
Labels = Literal["soft", "hard"]

COLDEST, HOTTEST = 1e-3, 1e3
"""Temperatures between which the best one is looked for."""


class Combined(NamedTuple):
    """One distribution a row, and whether the row is labelled by it."""

    log_p: Tensor  # [n, c]
    kept: Tensor  # bool [n]


def union(log_p: Tensor, threshold: float) -> Combined:
    """What the most confident teacher says, kept where its largest probability is `threshold` or more."""
    best = log_p.amax(dim=2).argmax(dim=0)
    chosen = log_p[best, torch.arange(log_p.shape[1], device=log_p.device)]
    return Combined(chosen, confident(chosen, threshold))


def intersection(log_p: Tensor, threshold: float) -> Combined:
    """The mean of the teachers, kept where all choose one class, with `threshold` or more on average."""
    mixed = extension(log_p, torch.full((len(log_p), 1), 1 / len(log_p)).to(log_p), threshold)
    # Where they agree, the largest probability of the mean is the mean of their largest.
    return Combined(mixed.log_p, mixed.kept & agreement(log_p))


def extension(log_p: Tensor, weights: Tensor, threshold: float) -> Combined:
    """The weighted mean of the teachers' probabilities, kept where its largest one is `threshold` or more.

    `weights` [k, 1] or [k, n] sum to 1 over the teachers.
    """
    mixed = (log_p + weights.log()[:, :, None]).logsumexp(dim=0)
    return Combined(mixed, confident(mixed, threshold))


def confident(log_p: Tensor, threshold: float) -> Tensor:
    """Return, bool [n], where the largest probability of [n, c] is `threshold` or more."""
    return log_p.amax(dim=1).exp() >= threshold


def agreement(log_p: Tensor) -> Tensor:
    """Return, bool [n], where all teachers find the same class most probable."""
    classes = log_p.argmax(dim=2)
    return (classes == classes[0]).all(dim=0)


def by_entropy(log_p: Tensor) -> Tensor:
    """Return weights [k, n] of each row, in proportion to exp(-H(p_k)): who is sure counts more."""
    return (-torch.special.entr(log_p.exp()).sum(dim=2)).softmax(dim=0)


def information(log_p: Tensor) -> Tensor:
    """Return of each teacher, [k], H(mean p_k) - mean H(p_k) over the rows of all processes, in nats.

    The mutual information of row and prediction, as the validator `infomax`: from 0 (every row alike) to log c.
    """
    p = log_p.exp()
    mean, entropy = mean_over_ranks(p.mean(dim=1)), mean_over_ranks(torch.special.entr(p).sum(dim=2).mean(dim=1))
    return torch.special.entr(mean).sum(dim=1) - entropy


def check_distillation(temperature: float, labels: Labels) -> None:
    """Raise ValueError for a temperature that is not positive, or an unknown kind of labels."""
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if labels not in get_args(Labels):
        raise ValueError(f"labels={labels!r}: expected one of {', '.join(get_args(Labels))}")


def soft_labels(combined: Combined, temperature: float, labels: Labels) -> Tensor:
    """Return what is learned from, [n, c]: p^(1/T) scaled to sum to 1, or 1 for the most probable class ("hard").

    A row that is not kept is all zeros.
    """
    log_p = combined.log_p
    if labels == "hard":
        q = F.one_hot(log_p.argmax(dim=1), log_p.shape[1]).to(log_p)
    else:
        q = (log_p / temperature).softmax(dim=1)
    return q * combined.kept[:, None]


def fit_temperature(logits: Tensor, y: Tensor) -> float:
    """Return the T > 0 that minimises the mean of -log softmax(logits / T)_y over labelled rows [n, c], [n].

    Guo, Pleiss, Sun & Weinberger, On calibration of modern neural networks, ICML 2017, section 4.2. The loss is convex
    in 1 / T, so that the root of its derivative is found, in float64. ValueError where there is none: if every row is
    right the loss falls as T falls for ever, and if the rows are no better than by chance it falls as T grows.
    """
    z = logits.double()
    z = z - z.gather(1, y[:, None])  # of the true class 0

    def slope(inverse: float) -> float:
        """The derivative by 1 / T: the mean logit under the predictions, less that of the true class."""
        return float(((z * inverse).softmax(dim=1) * z).sum(dim=1).mean())

    if slope(1 / HOTTEST) >= 0:
        raise ValueError("no temperature helps: these predictions are no better than by chance")
    if slope(1 / COLDEST) <= 0:
        raise ValueError(
            "all rows are predicted right, so that the likelihood grows as T falls to 0 and no temperature is best; "
            "1 leaves the predictions as they are"
        )
    return 1 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12, rtol=1e-12))
