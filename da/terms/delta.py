"""Feature maps held near those of the network as it started."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from da.terms.align import inner_layers
from da.terms.distillation import Distillation, output_of
from da.types import Encoded


class Delta(Distillation):
    """Sum over `map_layers` of 1/C sum_j |FM_j(x) - FM0_j(x)|^2, the mean over rows and then over `streams`.

    DELTA, Li et al. 2019, ICLR: FM_j is the j-th of the C channels of a layer's output, all of its positions, and
    FM0 that of the network as it starts on the same x, constant in backward. The paper weighs the channels by the
    softmax of what the loss of a classifier on the fixed start gains when the channel is removed; that takes a pass
    over labelled data before training. Here all weigh the same, 1/C: what that softmax gives for equal gains. The
    paper's penalty on the new head is the term `l2` with to_zero=[head].

    Args:
        map_layers: names inside the network, or "features".
        streams: whose rows are compared.
    """

    def __init__(
        self, map_layers: Sequence[str] = ("backbone",), streams: Sequence[str] = ("source", "target")
    ) -> None:
        super().__init__(inner_layers(map_layers), streams=streams)
        self.map_layers = tuple(map_layers)

    def compare(self, student: Encoded, teacher: Encoded) -> Float[Tensor, ""]:
        parts = []
        for layer in self.map_layers:
            now, before = output_of(student, layer), output_of(teacher, layer)
            parts.append((now - before).square().sum() / (now.shape[0] * now.shape[1]))
        return torch.stack(parts).sum()
