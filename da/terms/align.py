"""Alignment by a discrepancy, of any layers."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.discrepancies.base import ConditionalDiscrepancy, Discrepancy, JointDiscrepancy
from da.distributed import gather
from da.terms.base import Term
from da.types import Encoded, Step

OUTPUTS = ("features", "logits", "probabilities")
"""What every network has; any other layer is named as inside the network: `backbone.layers.3`."""
OF_CLASSES = frozenset({"logits", "probabilities"})
"""Those that have a number for each class."""


def source_classifier(net: Any) -> str:
    """Return the layer that has the logits of the source's classes: of its own head where each domain has one."""
    return "head.source" if getattr(net, "own_classes", False) else "logits"


def layer_of(rows: Encoded, layer: str) -> Float[Tensor, "n k"]:
    """Return the named layer's output for these rows; a map over positions is averaged over them."""
    match layer:
        case "features":
            return rows.z
        case "logits":
            return rows.logits
        case "probabilities":
            return rows.logits.softmax(dim=1)
    output = rows.layers[layer]
    return output.flatten(2).mean(dim=2) if output.ndim > 2 else output


def inner_layers(layers: Sequence[str]) -> tuple[str, ...]:
    """Return those layers that the network must be asked to keep. ValueError for none, or one named twice."""
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(f"layers must be one or more different names, got {list(layers)}")
    return tuple(layer for layer in layers if layer not in OUTPUTS)


class Align(Term):
    """sum over the layers of D(F_s, F_t), computed on the batch of all processes together.

    Several layers make it DAN's sum (Long et al. 2015, eq. 4).
    """

    def __init__(self, discrepancy: Discrepancy, layer: str | Sequence[str] = "features") -> None:
        super().__init__()
        self.discrepancy = discrepancy
        self.aligned = (layer,) if isinstance(layer, str) else tuple(layer)
        self.layers = inner_layers(self.aligned)
        self.same_classes = bool(OF_CLASSES & set(self.aligned))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        pairs = [(layer_of(step.source, layer), layer_of(step.target, layer)) for layer in self.aligned]
        return torch.stack([self.discrepancy(gather(z_s), gather(z_t)) for z_s, z_t in pairs]).sum()


class JointAlign(Term):
    """D of the joint distributions of several layers (JAN, Long et al. 2017)."""

    same_classes = True

    def __init__(self, discrepancy: JointDiscrepancy, layers: Sequence[str] = ("features", "probabilities")) -> None:
        super().__init__()
        self.discrepancy = discrepancy
        self.aligned = tuple(layers)
        self.layers = inner_layers(layers)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        sides = [[gather(layer_of(rows, layer)) for layer in self.aligned] for rows in (step.source, step.target)]
        return self.discrepancy(*sides)


class ClassAlign(Term):
    """D class by class: the source's labels, and the target's predictions in place of labels."""

    same_classes = True

    def __init__(self, discrepancy: ConditionalDiscrepancy, layer: str = "features") -> None:
        super().__init__()
        self.discrepancy = discrepancy
        self.layer = layer
        self.layers = inner_layers((layer,))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        source, target = step.source, step.target
        p_s = F.one_hot(source.y, source.logits.shape[1]).to(source.z.dtype)
        p_t = target.logits.softmax(dim=1)
        z_s, z_t = layer_of(source, self.layer), layer_of(target, self.layer)
        return self.discrepancy(gather(z_s), gather(p_s), gather(z_t), gather(p_t))
