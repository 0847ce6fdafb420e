"""Information maximisation."""

import math

import torch
from torch import Tensor

from da.terms.entropy import entropy
from da.validators.base import Seen, Validator


class InformationMaximisation(Validator):
    """Entropy of the mean prediction minus mean entropy of the predictions, in nats, at most log c.

    The mutual information of input and prediction (Bridle et al. 1991; as a validator Musgrave et al.
    2022): high when every prediction is certain and all classes are used.
    """

    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        return torch.special.entr(seen.p.mean(dim=0)).sum() - entropy(seen.target.logits).mean()

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 0.0, math.log(seen.target.logits.shape[1])
