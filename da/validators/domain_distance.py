"""Minus a distance of the domains, in the features."""

import math

import torch
from torch import Tensor

from da.discrepancies.mmd import mmd2
from da.transfer.probes import distance_of
from da.validators.base import BOTH, Seen, Validator
from da.validators.weighted_risk import domain_log_odds_of


class Mmd(Validator):
    """Minus the squared maximum mean discrepancy of the features of held-out source rows and target rows.

    `da.discrepancies.mmd.mmd2` with its defaults: biased, so never positive here; Gaussian kernels whose bandwidth is
    the mean squared distance (Gretton et al. 2012, eq. 5). It looks at no prediction: features that fell onto
    one point have no distance.
    """

    reads = BOTH

    def score(self, seen: Seen) -> Tensor:
        # Below 0 by rounding only.
        return -mmd2(seen.need_source().z.double(), seen.target.z.double()).clamp_min(0.0)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return -2.0, 0.0


class ADistance(Validator):
    """Minus the proxy A-distance of the features of held-out source rows and target rows (Ben-David et al. 2006).

    `da.transfer.probes.proxy_a_distance`: -2 where a linear classifier tells the domains apart without an error, about
    0 where it can't. It looks at no prediction. A classifier a fold at each validation, that of `Iwcv`: its time grows
    with rows times features. NaN for a domain of one row.

    Args:
        folds: of the domain classifier; no more than there are rows of a domain.
    """

    reads = BOTH

    def __init__(self, folds: int = 5) -> None:
        self.folds = folds

    def score(self, seen: Seen) -> Tensor:
        log_odds = domain_log_odds_of(seen, self.folds)
        if log_odds is None:
            return torch.tensor(math.nan)
        return torch.tensor(-distance_of(log_odds, len(seen.need_source().z)).value)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return -2.0, 2.0
