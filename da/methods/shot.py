"""SHOT: source hypothesis transfer (Liang, Hu & Feng 2020, ICML). Source-free."""

from collections.abc import Mapping
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from da.methods.base import JointMethod
from da.models.network import Network
from da.models.optimizer import OptimizerFactory
from da.schedules import Schedule
from da.terms.base import Losses, Objective
from da.terms.entropy import Diversity, Entropy
from da.terms.pseudo_label import PseudoLabel
from da.types import Role, Step

SAVED = "pseudo_labels"


def cluster_labels(z: Float[Tensor, "n d"], p: Float[Tensor, "n c"]) -> Int[Tensor, " n"]:
    """Label each row by its nearest class centroid in cosine similarity (eq. 4-6).

    The centroids are weighted by the predictions `p`, then estimated once more from the labels they
    gave; a class that was given to no row is out of the second round.
    """
    z = F.normalize(z, dim=1)
    weights, labels = p, p.argmax(dim=1)
    for _ in range(2):
        centroids = F.normalize(weights.T @ z, dim=1)
        similarity = (z @ centroids.T).masked_fill(weights.sum(dim=0) == 0, -torch.inf)
        labels = similarity.argmax(dim=1)
        weights = F.one_hot(labels, p.shape[1]).to(z.dtype)
    return labels


@final
class Shot(JointMethod):
    """L = lambda_1 entropy + lambda_2 diversity + lambda_3 pseudo-label (eq. 7), the classifier kept as it is.

    Pseudo-labels are assigned anew before each epoch from all target rows. Starts from the network that
    the config's `pretrain` stage trained on the source, or from `init_from`; its own training opens the
    target only. The test after it scores both domains.
    """

    streams = frozenset({"target"})
    evaluated: tuple[Role, ...] = ("target",)
    same_classes = True

    def __init__(
        self,
        net: Network,
        optimizer: OptimizerFactory,
        weights: Mapping[str, Schedule] | None = None,
        lr_schedule: Schedule | None = None,
    ) -> None:
        super().__init__(net, optimizer, lr_schedule)
        net.head.requires_grad_(False)  # the source hypothesis stays fixed
        self.pseudo = PseudoLabel()
        self.objective = Objective({"entropy": Entropy(), "diversity": Diversity(), "pseudo": self.pseudo}, weights)

    def loss(self, step: Step) -> Losses:
        return self.objective(step)

    def on_train_epoch_start(self) -> None:
        rows = self.encode_all("target")
        self.pseudo.assign(cluster_labels(rows.z, rows.logits.softmax(dim=1)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the labels of the epoch, for a run that goes on in the middle of it."""
        if "optimizer_states" in checkpoint:  # else it is selected.ckpt, of weights alone
            checkpoint[SAVED] = self.pseudo.labels

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if SAVED in checkpoint:
            self.pseudo.assign(checkpoint[SAVED].to(self.device))
