"""Distillation: what a frozen teacher says of the same rows, as its outputs, its features or their relations.

The teacher's answers are held constant in backward.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from da.distributed import gather
from da.models.frozen import FrozenCopy
from da.models.network import Network
from da.models.teacher import Teacher
from da.terms.align import inner_layers, layer_of, source_classifier
from da.terms.base import Term
from da.terms.relations import cosines, relative_distances
from da.types import ROLE_OF_STREAM, Encoded, Step


def named_streams(streams: Sequence[str]) -> frozenset[str]:
    """Return the streams as a set. ValueError for none, or one named twice."""
    if not streams or len(set(streams)) < len(streams):
        raise ValueError(f"streams must be one or more different names, got {list(streams)}")
    return frozenset(streams)


def output_of(rows: Encoded, layer: str) -> Float[Tensor, "n ..."]:
    """Return the named layer's output for these rows with all of its positions, where `layer_of` averages over them."""
    return rows.layers[layer] if layer in rows.layers else layer_of(rows, layer)


class Distillation(Term):
    """A comparison with a teacher on the same x: the mean over `streams` of `compare`.

    The teacher is the network as it is when training begins (after `init_from` and a source stage), or that of
    `teacher`. It is in evaluation mode, so its batch norm has the running statistics and it has no dropout, and
    constant in backward. It is saved in the checkpoint of the run: one more network, but for that of a run's folder.

    Args:
        layers: layers inside the network that `compare` reads.
        teacher: checkpoint of a run with the same net, or the folder of a run with any (see `Teacher`). ValueError or
            FileNotFoundError if it does not fit.
        streams: whose rows are compared.
        teacher_layers: layers inside the teacher, if others.
    """

    def __init__(
        self,
        layers: Sequence[str] = (),
        teacher: str | None = None,
        streams: Sequence[str] = ("source", "target"),
        teacher_layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.teacher_layers = self.layers if teacher_layers is None else tuple(teacher_layers)
        self.streams = named_streams(streams)
        self.path = teacher
        self.teacher: FrozenCopy | Teacher | None = None

    @abstractmethod
    def compare(self, student: Encoded, teacher: Encoded) -> Float[Tensor, ""]:
        """Return the loss of one stream, whose rows are the same on both sides."""

    def prepare(self, net: Network) -> None:
        if self.path is not None and Path(self.path).is_dir():
            self.teacher = Teacher(self.path, net, self.teacher_layers)
            return
        self.teacher = FrozenCopy(net, self.teacher_layers)
        if self.path is not None:
            self.teacher.load(self.path)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        names = sorted(self.streams)  # a set's own order differs from process to process
        return torch.stack([self.compare(step.streams[n], self._taught(step, n)) for n in names]).mean()

    def _taught(self, step: Step, stream: str) -> Encoded:
        if self.teacher is None:
            raise ValueError(f"{type(self).__name__} has no teacher before prepare(net) was called")
        rows = step.streams[stream]
        z, logits = self.teacher(step.batch[stream].x)
        logits = cast(Network, self.teacher.module).logits_of(ROLE_OF_STREAM[stream], logits)
        return Encoded(z, logits, rows.y, rows.domain, rows.index, dict(self.teacher.watched))


class LogitDistillation(Distillation):
    """T^2 KL(p_teacher || p_student) of predictions at temperature T, the mean over the rows.

    Hinton, Vinyals & Dean 2015, sec. 2: their cross entropy with soft targets, less the teacher's entropy, which
    does not depend on the student, so that the loss is 0 where both agree. T^2 keeps the size of the gradient
    T (p_student - p_teacher) / n as T changes.

    Learning without Forgetting (Li & Hoiem 2016, ECCV) is this on the rows of the new task and the classifier of the
    old one, `layer=None`. The paper's loss has no T^2 (its lambda is T^2 times that of this term), and its teacher's
    entropy is a constant.

    Args:
        temperature: T.
        teacher: as in `Distillation`.
        streams: whose rows are compared.
        layer: what is taken for logits; None: those of the source's classes, `head.source` where each domain has a head
            of its own, else "logits".

    Raises ValueError unless the temperature is positive, and for the layer "probabilities".
    """

    def __init__(
        self,
        temperature: float = 2.0,
        teacher: str | None = None,
        streams: Sequence[str] = ("source", "target"),
        layer: str | None = "logits",
    ) -> None:
        self.layer, self.of_source = layer or "logits", layer is None
        super().__init__(inner_layers((self.layer,)), teacher, streams)
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if layer == "probabilities":
            raise ValueError("layer=probabilities are softened no more: name what they are the softmax of")
        self.temperature = temperature

    def prepare(self, net: Network) -> None:
        if self.of_source:
            self.layer = source_classifier(net)
            self.layers = self.teacher_layers = inner_layers((self.layer,))
        super().prepare(net)

    def compare(self, student: Encoded, teacher: Encoded) -> Float[Tensor, ""]:
        logits = (layer_of(rows, self.layer) for rows in (student, teacher))
        log_q, log_p = ((x / self.temperature).log_softmax(dim=1) for x in logits)
        return self.temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


class FeatureDistillation(Distillation):
    """1/2 |F(x) - r(F_student(x))|^2 with F the teacher's, summed over width and positions, the mean over the rows.

    FitNets, Romero et al. 2015, eq. 3. r is the identity, or a `projection` that is learned with the network, for
    layers of different width.

    Args:
        layer: "features", "logits", "probabilities", or a name inside the network.
        teacher_layer: the teacher's, if another.
        projection: from the student's layer to the width of the teacher's, such as a torch.nn.Linear.
        teacher: as in `Distillation`.
        streams: whose rows are compared.

    Raises ValueError when the two sides have different shapes.
    """

    def __init__(
        self,
        layer: str = "features",
        teacher_layer: str | None = None,
        projection: nn.Module | None = None,
        teacher: str | None = None,
        streams: Sequence[str] = ("source", "target"),
    ) -> None:
        other = layer if teacher_layer is None else teacher_layer
        super().__init__(inner_layers((layer,)), teacher, streams, inner_layers((other,)))
        self.layer, self.teacher_layer = layer, other
        self.projection = nn.Identity() if projection is None else projection

    def compare(self, student: Encoded, teacher: Encoded) -> Float[Tensor, ""]:
        mine, wanted = self.projection(output_of(student, self.layer)), output_of(teacher, self.teacher_layer)
        if mine.shape != wanted.shape:
            raise ValueError(
                f"layer={self.layer} gives {tuple(mine.shape[1:])} a row and teacher_layer={self.teacher_layer} "
                f"{tuple(wanted.shape[1:])}: name layers of one shape, or a projection between them"
            )
        return (wanted - mine).square().sum() / (2 * len(mine))


class RelationDistillation(Distillation):
    """Huber loss between student and teacher of all relative distances, + `angle_weight` times that of all cosines.

    RKD, Park et al. 2019, sec. 3.2: the distances of pairs are divided by their mean, which is not held constant in
    backward, and the Huber loss has delta = 1. A mean over the pairs and over the triplets of different rows of all
    processes together, where the paper sums. Rows that coincide have no angle, and there the cosine counts as 0.

    Time is O(n^2 d + r^3) and memory O(n^2 + r^3), half a dozen float tensors of r^3, for n rows of which r are in
    the triplets. More than `angle_rows` rows are thinned out evenly, so that r <= `angle_rows`.

    Args:
        layer: as in `FeatureDistillation`; a map over positions is averaged over them.
        angle_weight: 2 is the paper's ratio of the two; 0 leaves the angles out.
        angle_rows: most rows that are in triplets.
        teacher: as in `Distillation`.
        streams: whose rows are compared.
    """

    def __init__(
        self,
        layer: str = "features",
        angle_weight: float = 2.0,
        angle_rows: int = 128,
        teacher: str | None = None,
        streams: Sequence[str] = ("source", "target"),
    ) -> None:
        super().__init__(inner_layers((layer,)), teacher, streams)
        if angle_weight < 0 or angle_rows < 3:
            raise ValueError(
                "angle_weight must not be negative and angle_rows must be 3 or more, got "
                f"angle_weight={angle_weight}, angle_rows={angle_rows}"
            )
        self.layer, self.angle_weight, self.angle_rows = layer, angle_weight, angle_rows

    def compare(self, student: Encoded, teacher: Encoded) -> Float[Tensor, ""]:
        mine, wanted = (relative_distances(gather(layer_of(rows, self.layer))) for rows in (student, teacher))
        n = len(mine)
        loss = F.huber_loss(mine, wanted, reduction="sum") / max(n * (n - 1), 1)
        if not self.angle_weight:
            return loss
        every = -(-n // self.angle_rows)
        angles = self._angle_loss(mine[::every, ::every], wanted[::every, ::every])
        return loss + self.angle_weight * angles

    def _angle_loss(self, mine: Float[Tensor, "r r"], wanted: Float[Tensor, "r r"]) -> Float[Tensor, ""]:
        r = len(mine)
        losses = F.huber_loss(cosines(mine), cosines(wanted), reduction="none")
        # i = j and k = j give 0 on both sides; i = k gives 1, but not where only one side has the rows coincide.
        same = torch.eye(r, dtype=torch.bool, device=mine.device)
        return losses.masked_fill(same, 0.0).sum() / max(r * (r - 1) * (r - 2), 1)
