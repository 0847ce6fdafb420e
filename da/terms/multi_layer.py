"""A domain discriminator at each of several layers."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from da.models.mlp import Mlp
from da.schedules import Ramp, Schedule
from da.terms.adversarial import domain_accuracy, mean_domain_loss, reverse_gradient
from da.terms.align import OF_CLASSES, inner_layers, layer_of
from da.terms.base import Term
from da.types import Step


def layer_widths(
    layers: Sequence[str], feature_dim: int, num_classes: int, inner_dims: Mapping[str, int] | None
) -> list[int]:
    """Return the width that `layer_of` gives for each layer; ValueError for one of unknown width.

    Those of the features, the logits and the probabilities are known; `inner_dims` gives those of layers inside
    the network, which for a map over positions is the number of its channels.
    """
    widths = {"features": feature_dim, "logits": num_classes, "probabilities": num_classes, **(inner_dims or {})}
    if unknown := [layer for layer in layers if layer not in widths]:
        raise ValueError(f"inner_dims={dict(inner_dims or {})} does not give the width of the layers {unknown}")
    return [widths[layer] for layer in layers]


class MultiLayerAdversarial(Term):
    """sum over the layers of DANN's loss (Ganin et al. 2016, eq. 9), each with a discriminator of its own.

    A layer is `features`, `logits`, `probabilities`, or one inside the network, whose width `inner_dims` gives. A layer
    behind the head sends its reversed gradient into the head too. `reversals` gives layers a strength of their own in
    place of `reversal`. `accuracy_<layer>` is measured of each discriminator, `accuracy` is their mean.

    ValueError for a layer that is named twice or has no known width, and for `reversals` of other layers.
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        layers: Sequence[str] = ("features", "probabilities"),
        inner_dims: Mapping[str, int] | None = None,
        hidden_dims: Sequence[int] = (500, 500),
        dropout: float = 0.5,
        reversal: Schedule | None = None,
        reversals: Mapping[str, Schedule] | None = None,
    ) -> None:
        super().__init__()
        self.seen, self.layers = tuple(layers), inner_layers(layers)
        self.same_classes = bool(OF_CLASSES & set(layers))
        if unknown := sorted((reversals or {}).keys() - set(layers)):
            raise ValueError(f"reversals name {unknown}, but the layers are {list(layers)}")
        widths = layer_widths(layers, feature_dim, num_classes, inner_dims)
        self.discriminators = nn.ModuleList(Mlp(width, [*hidden_dims, 1], dropout=dropout) for width in widths)
        self.reversal: Schedule = reversal if reversal is not None else Ramp()
        self.reversals = dict.fromkeys(layers, self.reversal) | dict(reversals or {})

    def forward(self, step: Step) -> Float[Tensor, ""]:
        sizes = [len(step.source.z), len(step.target.z)]
        losses, accuracies = [], {}
        for layer, discriminator in zip(self.seen, self.discriminators, strict=True):
            x = torch.cat([layer_of(step.source, layer), layer_of(step.target, layer)])
            scores = discriminator(reverse_gradient(x, self.reversals[layer](step.progress))).squeeze(1)
            scores_s, scores_t = scores.split(sizes)
            losses.append((mean_domain_loss(scores_s, 1.0) + mean_domain_loss(scores_t, 0.0)) / 2)
            accuracies[f"accuracy_{layer}"] = domain_accuracy(scores_s, scores_t)
        self.measures = {"accuracy": torch.stack(list(accuracies.values())).mean(), **accuracies}
        return torch.stack(losses).sum()
