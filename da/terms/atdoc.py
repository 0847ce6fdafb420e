"""ATDOC: pseudo-labels from a classifier of the target domain alone (Liang, Hu & Feng 2021, CVPR)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.distributed import gather
from da.models.bank import Bank
from da.terms.base import Term
from da.types import Step


class AtdocNc(Term):
    """ATDOC-NC: mean cross entropy of the target rows against the class of the centroid that is nearest in cosine.

    One centroid a class, an exponential moving average of the mean feature of the target rows of all processes that the
    network gives this class. Labels and centroids are held constant in backward. A class that no row was given yet is
    out, and one that is absent from a batch keeps its centroid; the authors' code starts from random centroids. Here
    the centroids are updated before they are read, from the features of this very pass; in the authors' code after
    the optimizer's step, in evaluation mode. In evaluation mode nothing is written.

    Args:
        feature_dim: width of the features.
        num_classes: number of classes.
        momentum: share of the old centroid; 0.9 in the authors' code.
    """

    streams = frozenset({"target"})
    same_classes = True
    centroids: Tensor
    seen: Tensor

    def __init__(self, feature_dim: int, num_classes: int, momentum: float = 0.9) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.momentum = momentum
        self.register_buffer("centroids", torch.zeros(num_classes, feature_dim))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        rows = step.target
        z = rows.z.detach()
        if self.training:
            self._update(gather(z), gather(rows.logits.detach()))
        cosine = z @ F.normalize(self.centroids.to(z.dtype), dim=1).T  # |z| changes no row's order
        labels = cosine.masked_fill(~self.seen, -torch.inf).argmax(dim=1)
        return F.cross_entropy(rows.logits, labels)

    @torch.no_grad()
    def _update(self, z: Float[Tensor, "n d"], logits: Float[Tensor, "n c"]) -> None:
        given = F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(z.dtype)
        count = given.sum(dim=0).unsqueeze(1)
        mean = (given.T @ z / count.clamp_min(1)).to(self.centroids.dtype)
        momentum = torch.where(self.seen.unsqueeze(1), self.momentum, 0.0)
        present = count > 0
        self.centroids.copy_(torch.where(present, momentum * self.centroids + (1 - momentum) * mean, self.centroids))
        self.seen.logical_or_(present.squeeze(1))


class AtdocNa(Term):
    """ATDOC-NA: cross entropy against what the `neighbours` nearest target rows of a memory bank agree on.

    The bank holds features f / |f| and predictions that are sharpened and balanced over the classes of a batch,
    q_ic = p_ic^(1/T) / sum_j p_jc^(1/T), the sum over the rows of all processes. The label of a row is the largest
    component of the mean q of its neighbours, and its weight is that component's value. The weights are divided by
    their sum over all processes, as in the authors' code. Labels and weights are held constant in backward.

    A batch is entered in the bank before it is read, from this very pass, and a row is never its own neighbour. The
    authors' code enters it after the optimizer's step, in evaluation mode, and starts from random features and uniform
    predictions; here the bank starts empty. In evaluation mode nothing is written. Measures: `confidence`, the mean
    weight before the division.

    Args:
        feature_dim: width of the features.
        num_classes: number of classes.
        neighbours: their number, 5 in the authors' code.
        temperature: T, 0.5 in the authors' code.
        capacity: rows of the bank; the paper's holds the whole target data.
    """

    streams = frozenset({"target"})
    same_classes = True

    def __init__(
        self, feature_dim: int, num_classes: int, neighbours: int = 5, temperature: float = 0.5, capacity: int = 16384
    ) -> None:
        super().__init__()
        if temperature <= 0 or neighbours < 1:
            raise ValueError(
                f"temperature must be positive and neighbours at least 1, got temperature={temperature}, "
                f"neighbours={neighbours}"
            )
        self.neighbours, self.temperature = neighbours, temperature
        self.bank = Bank(capacity, feature_dim, num_classes)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        rows = step.target
        self.bank.write(rows.index, rows.z, self._balanced(rows.logits.detach()))
        near = self.bank.neighbours(rows.index, rows.z, self.neighbours)
        votes = self.bank.predictions[near.slots] * near.valid.unsqueeze(2)
        count = near.valid.sum(dim=1, keepdim=True).clamp_min(1)
        weights, labels = (votes.sum(dim=1) / count).to(rows.logits.dtype).max(dim=1)
        mean = gather(weights).mean()
        self.measures = {"confidence": mean}
        weights = weights / torch.where(mean > 0, mean, 1.0)
        return (weights * F.cross_entropy(rows.logits, labels, reduction="none")).mean()

    def _balanced(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Return this process's rows of q."""
        log_p = logits.log_softmax(dim=1) / self.temperature
        return torch.exp(log_p - gather(log_p).logsumexp(dim=0))  # no division: a class may have no probability at all
