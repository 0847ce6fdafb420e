"""Correlation of the predicted classes."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.validators.base import Seen, Validator


def softmax_correlation(p: Float[Tensor, "n c"]) -> Float[Tensor, ""]:
    """Cosine of C = P^T P / n and the identity, tr C / (sqrt(c) |C|_F), from 1 / sqrt(c) to 1.

    SoftmaxCorr, Tu et al. 2023 (Assessing model out-of-distribution generalization with softmax prediction probability
    baselines and a correlation method), called Corr-C by Hu et al. 2023. With the identity as the reference, as there;
    the later version of the paper (2024) estimates the shares of the classes by another model.
    """
    correlation = p.T @ p / len(p)
    return correlation.trace() / (p.shape[1] ** 0.5 * torch.linalg.matrix_norm(correlation))


class ClassCorrelation(Validator):
    """`softmax_correlation` of the target predictions: 1 when they are certain and use all classes equally often.

    1 / sqrt(c) when all rows are called one class, and when all predictions are uniform.
    """

    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        return softmax_correlation(seen.p.double())

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return seen.p.shape[1] ** -0.5, 1.0
