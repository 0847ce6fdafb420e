"""Alignment by a discrepancy."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.distributed import gather
from da.terms.base import Term
from da.types import Encoded, Step

Layer = Literal["features", "logits", "probabilities"]


def layer_of(rows: Encoded, layer: Layer) -> Float[Tensor, "n k"]:
    """Return the named layer's output for these rows."""
    match layer:
        case "features":
            return rows.z
        case "logits":
            return rows.logits
        case "probabilities":
            return rows.logits.softmax(dim=1)
    raise ValueError(f"layer must be features, logits or probabilities, got {layer!r}")


class Align(Term):
    """D(F_s, F_t), computed on the batch of all processes together."""

    def __init__(self, discrepancy: Discrepancy, layer: Layer = "features") -> None:
        super().__init__()
        self.discrepancy = discrepancy
        self.layer: Layer = layer

    def forward(self, step: Step) -> Float[Tensor, ""]:
        z_s, z_t = layer_of(step.source, self.layer), layer_of(step.target, self.layer)
        return self.discrepancy(gather(z_s), gather(z_t))
