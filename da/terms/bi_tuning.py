"""Bi-Tuning: rows of one class near one another, for the classifier and in a projection."""

from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from da.models.class_queue import ClassQueue
from da.models.frozen import FrozenCopy
from da.models.heads import BridgedHead, DomainHeads
from da.models.network import Network
from da.terms.base import Term
from da.types import ROLE_OF_STREAM, Step

LABELLED = ("source", "labeled", "oracle")
"""Streams that show labels."""


def contrast(
    scores: Float[Tensor, "n k"], positive: Bool[Tensor, "n k"], there: Bool[Tensor, " k"], temperature: float
) -> Float[Tensor, ""]:
    """Mean over the rows i of -1/|P_i| sum_{j in P_i} log exp(s_ij / T) / sum_{j there} exp(s_ij / T).

    P_i are row i's `positive` columns; a row without any counts 0.
    """
    lowest = torch.finfo(scores.dtype).min  # -inf would make nan of a row where nothing is there
    log_p = (scores / temperature).masked_fill(~there, lowest).log_softmax(dim=1)
    count = positive.sum(dim=1).clamp_min(1)
    return -(log_p.masked_fill(~positive, 0.0).sum(dim=1) / count).mean()


class BiTuning(Term):
    """L_CCE + L_CCL on labelled rows, against the keys of a queue: a contrast of rows by their class.

    Bi-tuning, Zhong et al. 2020, arXiv 2011.06182. The keys come from a second network, a moving average of the
    trained one, and from a second view of the rows; the latest `capacity` of each class are kept. With K_i the keys
    of row i's class and K all of them,

    - contrastive cross entropy, of the classifier: over K and the row itself, `contrast` of <w_y, h>, h the features
      and a 1, w_y the weights and the bias of the row's class, both divided by their norm; the positives are K_i and
      the row itself.
    - categorical contrastive learning, of a linear projector: over K, `contrast` of <z, k>, both divided by their
      norm; the positives are K_i.

    The vanilla cross entropy, which the paper adds, is the method's own. Gradients reach the rows' features and the
    projector: keys are held constant in backward, and so are the w_y, as in the authors' library (TLlib), from which
    the default numbers are too. It differs from there in this: a batch's keys are entered in the queue before it is
    read and take the place of the row's own key; the queue starts empty and not with noise; the key network is in
    evaluation mode, with a moving average of the batch norms' statistics. In evaluation mode nothing is written.

    Measures: `cce`, `ccl`.

    Args:
        feature_dim: width of the features.
        projection_dim: width of the projector.
        capacity: keys of each class.
        momentum: share of the old key network at each step.
        temperature: T.
        stream: whose labelled rows.
        keys: the stream of the keys: "<stream>_twin", another draw of the random augmentation, or the stream itself.

    Raises ValueError for numbers out of range, other keys, and a classifier that is not linear.
    """

    def __init__(
        self,
        feature_dim: int,
        projection_dim: int = 128,
        capacity: int = 40,
        momentum: float = 0.999,
        temperature: float = 0.07,
        stream: str = "labeled",
        keys: str = "labeled_twin",
    ) -> None:
        super().__init__()
        if temperature <= 0 or not 0 <= momentum < 1 or capacity < 1:
            raise ValueError(
                "temperature must be positive, momentum in [0, 1) and capacity at least 1, got "
                f"temperature={temperature}, momentum={momentum}, capacity={capacity}"
            )
        if stream not in LABELLED:
            raise ValueError(f"stream={stream} has no labels: expected one of {', '.join(LABELLED)}")
        if keys not in (stream, f"{stream}_twin"):
            raise ValueError(f"keys={keys} are of other rows than stream={stream}: take {stream} or {stream}_twin")
        self.capacity, self.momentum, self.temperature = capacity, momentum, temperature
        self.stream, self.keys = stream, keys
        self.streams = frozenset({stream, keys})
        self.constant_streams = self.streams - {stream}
        self.projector = nn.Linear(feature_dim, projection_dim)
        self.key_net: FrozenCopy | None = None
        self.key_projector: FrozenCopy | None = None
        self.queue: ClassQueue | None = None

    def prepare(self, net: Any) -> None:
        if not isinstance(net.head, (nn.Linear, BridgedHead, DomainHeads)):
            raise ValueError(f"BiTuning needs a linear classifier, but net.head is a {type(net.head).__name__}")
        self.key_net, self.key_projector = FrozenCopy(net), FrozenCopy(self.projector)
        classes = net.num_classes_of(ROLE_OF_STREAM[self.stream])
        width = self.projector.in_features + 1 + self.projector.out_features
        self.queue = ClassQueue(classes, self.capacity, width, self.projector.weight.dtype)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        if self.key_net is None or self.key_projector is None or self.queue is None:
            raise ValueError("BiTuning has no key network before prepare(net) was called")
        rows = step.streams[self.stream]
        if self.training:
            self.key_net.follow(cast(nn.Module, step.net), self.momentum)
            self.key_projector.follow(self.projector, self.momentum)
        self.queue.write(self._keys_of(step), rows.y)
        keys, classes, there = self.queue.rows()
        h_k, z_k = keys.to(rows.z.dtype).split([rows.z.shape[1] + 1, self.projector.out_features], dim=1)
        positive = (rows.y[:, None] == classes) & there
        own = torch.ones_like(positive[:, :1])
        w = self._class_vectors(step)[rows.y]
        h, z = with_one(rows.z), F.normalize(self.projector(rows.z), dim=1)
        scores = torch.cat([(h * w).sum(dim=1, keepdim=True), w @ h_k.T], dim=1)
        cce = contrast(scores, torch.cat([own, positive], dim=1), torch.cat([own[0], there]), self.temperature)
        ccl = contrast(z @ z_k.T, positive, there, self.temperature)
        self.measures = {"cce": cce.detach(), "ccl": ccl.detach()}
        return cce + ccl

    def _keys_of(self, step: Step) -> Float[Tensor, "n k"]:
        assert self.key_net is not None
        assert self.key_projector is not None
        z, _ = self.key_net(step.batch[self.keys].x)
        return torch.cat([with_one(z), F.normalize(self.key_projector(z), dim=1)], dim=1)

    @torch.no_grad()
    def _class_vectors(self, step: Step) -> Float[Tensor, "c k"]:
        """Weights and bias of every class, divided by their norm: what a linear head gives at 0 and at unit vectors."""
        net, d = cast(Network, step.net), self.projector.in_features
        weight = self.projector.weight
        points = torch.cat([weight.new_zeros(1, d), torch.eye(d, dtype=weight.dtype, device=weight.device)])
        logits = net.classify(ROLE_OF_STREAM[self.stream], points)
        return F.normalize(torch.cat([logits[1:] - logits[:1], logits[:1]]).T, dim=1)


def with_one(z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """Rows (z, 1), k = d + 1, divided by their norm."""
    return F.normalize(torch.cat([z, torch.ones_like(z[:, :1])], dim=1), dim=1)
