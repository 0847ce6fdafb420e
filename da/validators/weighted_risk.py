"""Risk of the source, weighted to be that of the target."""

import math
from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.transfer.probes import domain_log_odds
from da.validators.base import BOTH, Seen, Validator

LEAST_VARIANCE = 1e-6
"""Of the weights, in what divides by it: where the domains are alike, their variance is that of the classifier."""


def domain_log_odds_of(seen: Seen, folds: int) -> Float[Tensor, " rows"] | None:
    """Return `da.transfer.probes.domain_log_odds` of the rows seen, fitted once a validation; None for too few rows."""
    z_s, z_t = seen.need_source().z.cpu(), seen.target.z.cpu()
    folds = min(folds, len(z_s), len(z_t))
    if folds < 2:
        return None
    return seen.once(f"domain_log_odds {folds}", lambda: domain_log_odds(z_s, z_t, folds))


def weighted_losses(seen: Seen, folds: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]] | None:
    """Return weights p_t / p_s and weighted cross-entropies of the source rows, in float64; None for too few rows.

    The weights are the odds of `domain_log_odds`. You et al. fit their domain classifier to the source's training rows
    and ask it of held-out ones. Here there are only held-out rows: each gets its weight from a classifier that was
    fitted to the other folds, and so has not seen it either.
    """
    source, log_odds = seen.need_source(), domain_log_odds_of(seen, folds)
    if log_odds is None:
        return None
    weights = log_odds[: len(source.z)].exp()
    losses = F.cross_entropy(source.logits.double(), source.y, reduction="none").cpu()
    return weights, weights * losses


class WeightedRisk(Validator):
    """Minus a risk made of `weighted_losses`; NaN for too few rows.

    Args:
        folds: of the domain classifier; no more than there are rows of a domain.
    """

    reads = BOTH
    resists_collapse = True

    def __init__(self, folds: int = 5) -> None:
        self.folds = folds

    def score(self, seen: Seen) -> Tensor:
        found = weighted_losses(seen, self.folds)
        return torch.tensor(math.nan) if found is None else -self.risk(*found)

    @abstractmethod
    def risk(self, weights: Float[Tensor, " n"], weighted: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        """Return the risk, given the weights of the source rows and their weighted losses."""


class Iwcv(WeightedRisk):
    """Minus the importance-weighted risk of held-out source rows, in nats: -mean_i w_i l_i, 0 at best.

    Importance-weighted cross-validation, Sugiyama et al. 2007, with the weights of `weighted_losses` and the
    cross-entropy l. Where the domains hardly overlap every weight is nearly 0, and so is the score: it then says
    nothing. A classifier a fold at each validation: its time grows with rows times features. `Dev` shares it.
    """

    def risk(self, weights: Float[Tensor, " n"], weighted: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        return weighted.mean()

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return -math.inf, 0.0


def dev_risk(weights: Float[Tensor, " n"], weighted: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """mean(l') + eta mean(w) - eta, eta = -Cov(l', w) / Var(w), for weighted losses l' (You et al. 2019, algorithm 1).

    The control variate takes off what is due to the mean of the weights not being 1. Var(w) counts as 1e-6 where it is
    less.
    """
    covariance = torch.cov(torch.stack([weighted, weights]))
    eta = -covariance[0, 1] / covariance[1, 1].clamp_min(LEAST_VARIANCE)
    return weighted.mean() + eta * weights.mean() - eta


class Dev(WeightedRisk):
    """Minus the `dev_risk` of held-out source rows, in nats: deep embedded validation (You et al. 2019).

    The weights are those of `weighted_losses`, the loss is the cross-entropy, as in Musgrave et al. 2022; the authors'
    code takes any, and their domain classifier is a small network. The control variate can bring the risk below 0, so
    the score has no bound. A classifier a fold at each validation, that of `Iwcv`.
    """

    def risk(self, weights: Float[Tensor, " n"], weighted: Float[Tensor, " n"]) -> Float[Tensor, ""]:
        return dev_risk(weights, weighted)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return -math.inf, math.inf
