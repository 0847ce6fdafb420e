"""DeepJDOT's joint transport of features and labels."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.discrepancies.deep_jdot import DeepJdot
from da.distributed import gather
from da.terms.align import inner_layers, layer_of
from da.terms.base import Term
from da.types import Step


class JointTransport(Term):
    """`DeepJdot` between the source's features and labels and the target's features and predictions."""

    same_classes = True

    def __init__(self, transport: DeepJdot, layer: str = "features") -> None:
        super().__init__()
        self.transport = transport
        self.layer = layer
        self.layers = inner_layers((layer,))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        source, target = step.source, step.target
        p_s = F.one_hot(source.y, source.logits.shape[1]).to(source.z.dtype)
        z_s, z_t = layer_of(source, self.layer), layer_of(target, self.layer)
        return self.transport(gather(z_s), gather(p_s), gather(z_t), gather(target.logits))
