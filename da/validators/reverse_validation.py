"""Reverse validation."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from da.transfer.probes import source_probabilities
from da.validators.base import BOTH, Seen, Validator


def reverse_accuracy(
    z_t: Float[Tensor, "m d"], predicted: Int[Tensor, " m"], z_s: Float[Tensor, "n d"], y: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Accuracy on source rows of a linear classifier fitted to target rows and what they were predicted to be."""
    classes = predicted.unique()
    if len(classes) == 1:
        return (y == classes[0]).float().mean()
    found = source_probabilities(z_t, predicted)(z_s).argmax(dim=1)
    return (classes[found] == y).float().mean()


class ReverseValidation(Validator):
    """`reverse_accuracy` on held-out source rows: reverse, or circular, validation (Zhong et al. 2010).

    Ganin et al. 2016, sec. 5.1.2, train the whole network a second time, from the target with its predicted labels to
    the source without labels, and score it on the source. Here only a linear classifier (logistic regression on
    standardised features, every class weighs the same) is trained, on the features as they are. NaN where the domains
    have different numbers of classes.
    """

    reads = BOTH
    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        source = seen.need_source()
        if not seen.same_classes:
            return torch.tensor(math.nan)
        return reverse_accuracy(seen.target.z.cpu(), seen.predicted.cpu(), source.z.cpu(), source.y.cpu())

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 0.0, 1.0
