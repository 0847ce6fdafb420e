"""Adversarial joint MMD."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from da.discrepancies.base import JointDiscrepancy
from da.distributed import gather
from da.schedules import Constant, Schedule
from da.terms.adversarial import reverse_gradient
from da.terms.align import inner_layers, layer_of
from da.terms.base import Term
from da.terms.multi_layer import layer_widths
from da.types import Step


class AdversarialJmmd(Term):
    """D(theta(layers_s), theta(layers_t)) with a linear map theta per layer that maximises D.

    JAN-A (Long et al. 2017, eq. 9). The layers minimise D, so their gradient is as it is; that of the parameters of
    theta is multiplied by minus `reversal`. Each theta keeps its layer's width. D is computed on the batch of all
    processes together. A layer is `features`, `logits`, `probabilities`, or one inside the network, whose width
    `inner_dims` gives.

    ValueError for no layer, one named twice, or one of unknown width.
    """

    same_classes = True

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        discrepancy: JointDiscrepancy,
        layers: Sequence[str] = ("features", "probabilities"),
        inner_dims: Mapping[str, int] | None = None,
        reversal: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.seen, self.layers = tuple(layers), inner_layers(layers)
        widths = layer_widths(layers, feature_dim, num_classes, inner_dims)
        self.discrepancy = discrepancy
        self.maps = nn.ModuleList(nn.Linear(width, width) for width in widths)
        self.reversal: Schedule = reversal if reversal is not None else Constant()

    def forward(self, step: Step) -> Float[Tensor, ""]:
        strength = self.reversal(step.progress)
        sides: list[list[Tensor]] = [[], []]
        for layer, theta in zip(self.seen, self.maps, strict=True):
            # Reversed at the parameters, not at the output: what passes through theta keeps its sign.
            against = {name: reverse_gradient(p, strength) for name, p in theta.named_parameters()}
            for side, rows in zip(sides, (step.source, step.target), strict=True):
                side.append(gather(functional_call(theta, against, (layer_of(rows, layer),))))
        return self.discrepancy(*sides)
