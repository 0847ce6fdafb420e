"""Information maximisation."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.terms.entropy import entropy
from da.validators.base import RowsSeen


class InformationMaximisation(RowsSeen):
    """Entropy of the mean prediction minus mean entropy of the predictions, in nats, at most log c.

    The mutual information of input and prediction (Bridle et al. 1991; as a validator Musgrave et al.
    2022): high when every prediction is certain and all classes are used.
    """

    def compute(self) -> Float[Tensor, ""]:
        logits = self.all_logits()
        return torch.special.entr(logits.softmax(dim=1).mean(dim=0)).sum() - entropy(logits).mean()
