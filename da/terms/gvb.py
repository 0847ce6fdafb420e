"""Gradually vanishing bridge."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from da.models.mlp import Mlp
from da.schedules import Ramp, Schedule
from da.terms.adversarial import domain_accuracy, mean_domain_loss, reverse_gradient
from da.terms.base import Term
from da.terms.entropy import entropy
from da.types import Encoded, Step

BRIDGE = "head.bridge"
"""The layer of the network that holds the classifier's bridge; see `da.models.heads.BridgedHead`."""


class Gvb(Term):
    """L_trans + `bridge_weight` mean |b_G| + `discriminator_bridge_weight` mean |b_D| (GVB-GD, Cui et al. 2020, CVPR).

    The network's logits are fc(z) - b_G(z), so `net.head` must be a `BridgedHead`. The discriminator sees the
    probabilities p [n, c], not held constant, and its score is that of an Mlp minus its own bridge b_D, a linear layer
    beside the Mlp's last one. L_trans is DANN's loss with rows weighed by exp(-H(p)), normalised to sum 1 in each
    domain and halved, on the batch of all processes. The means |b| are over all rows of both domains, and all classes.
    mean |b_G| trains features, head and bridge without reversal; L_trans and |b_D| reach them reversed.

    Not reproduced: the authors' code sends a reversed gradient through the weights exp(-H(p)) too. Here they
    are held constant, as in CDAN+E. Both bridge weights are 1 by default. Measures `accuracy`, and the two means, as
    `bridge` and `discriminator_bridge`. ValueError without a `BridgedHead`.
    """

    layers = (BRIDGE,)
    same_classes = True

    def __init__(
        self,
        num_classes: int,
        hidden_dims: Sequence[int] = (1024, 1024),
        dropout: float = 0.5,
        bridge_weight: float = 1.0,
        discriminator_bridge_weight: float = 1.0,
        reversal: Schedule | None = None,
    ) -> None:
        super().__init__()
        if not hidden_dims:
            raise ValueError("hidden_dims must name one layer or more, got []: both outputs share the hidden layers")
        self.hidden = nn.Sequential(Mlp(num_classes, hidden_dims, dropout=dropout), nn.ReLU(), nn.Dropout(dropout))
        self.score, self.bridge = nn.Linear(hidden_dims[-1], 1), nn.Linear(hidden_dims[-1], 1)
        self.bridge_weight, self.discriminator_bridge_weight = bridge_weight, discriminator_bridge_weight
        self.reversal: Schedule = reversal if reversal is not None else Ramp()

    def forward(self, step: Step) -> Float[Tensor, ""]:
        domains = (step.source, step.target)
        p = torch.cat([rows.logits.softmax(dim=1) for rows in domains])
        hidden = self.hidden(reverse_gradient(p, self.reversal(step.progress)))
        bridge_d = self.bridge(hidden).squeeze(1)
        scores = self.score(hidden).squeeze(1) - bridge_d
        scores_s, scores_t = scores.split([len(rows.logits) for rows in domains])
        weights_s, weights_t = (torch.exp(-entropy(rows.logits.detach())) for rows in domains)
        transfer = (mean_domain_loss(scores_s, 1.0, weights_s) + mean_domain_loss(scores_t, 0.0, weights_t)) / 2
        mean_g = torch.cat([_bridge(rows) for rows in domains]).abs().mean()
        mean_d = bridge_d.abs().mean()
        self.measures = {
            "accuracy": domain_accuracy(scores_s, scores_t),
            "bridge": mean_g.detach(),
            "discriminator_bridge": mean_d.detach(),
        }
        return transfer + self.bridge_weight * mean_g + self.discriminator_bridge_weight * mean_d


def _bridge(rows: Encoded) -> Float[Tensor, "n c"]:
    if BRIDGE not in rows.layers:
        raise ValueError(f"the network has no layer {BRIDGE!r}: GVB needs net.head to be da.models.heads.BridgedHead")
    return rows.layers[BRIDGE]
