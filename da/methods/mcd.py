"""Maximum classifier discrepancy (Saito et al. 2018, CVPR)."""

from collections.abc import Mapping
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from da.methods.base import AlternatingMethod, OptimizerFactory, Update
from da.models.network import Network
from da.schedules import Schedule
from da.terms.base import Losses, complete_weights
from da.types import Step


def classifier_discrepancy(logits_a: Float[Tensor, "n c"], logits_b: Float[Tensor, "n c"]) -> Float[Tensor, ""]:
    """Mean absolute difference of two classifiers' probabilities, over rows and classes (eq. 2)."""
    return (logits_a.softmax(dim=1) - logits_b.softmax(dim=1)).abs().mean()


@final
class Mcd(AlternatingMethod):
    """Section 3.2, steps A to C: two heads are taught to disagree on the target, the features to make them agree.

    Args:
        generator_steps: feature updates a batch, the paper's n.
        weights: `discrepancy` is lambda, the weight of the disagreement in steps B and C (1 in the paper).

    Predictions, and so all scores, are those of the first head.
    """

    same_classes = True

    def __init__(
        self,
        net: Network,
        optimizer: OptimizerFactory,
        generator_steps: int = 4,
        weights: Mapping[str, Schedule] | None = None,
        lr_schedule: Schedule | None = None,
    ) -> None:
        super().__init__(net, optimizer, lr_schedule)
        self.second_head = net.new_head()
        self.generator_steps = generator_steps
        self.weight = complete_weights(weights, ("discrepancy",))["discrepancy"]

    def groups(self) -> dict[str, list[nn.Module]]:
        return {"features": [self.net.backbone, self.net.bottleneck], "heads": [self.net.head, self.second_head]}

    def updates(self) -> list[Update]:
        return [
            Update("fit", self.fit, ("features", "heads"), ("source",)),
            Update("maximise", self.maximise, ("heads",), ("source", "target")),
            Update("minimise", self.minimise, ("features",), ("target",), repeat=self.generator_steps),
        ]

    def fit(self, step: Step) -> Losses:
        task = self._task(step)
        return Losses(task, {"task": task}, {})

    def maximise(self, step: Step) -> Losses:
        task, gap, weight = self._task(step), self._gap(step), self.weight(step.progress)
        return Losses(task - weight * gap, {"discrepancy_max": gap}, {"discrepancy": weight})

    def minimise(self, step: Step) -> Losses:
        gap, weight = self._gap(step), self.weight(step.progress)
        return Losses(weight * gap, {"discrepancy": gap}, {"discrepancy": weight})

    def _task(self, step: Step) -> Float[Tensor, ""]:
        source = step.source
        return F.cross_entropy(source.logits, source.y) + F.cross_entropy(self.second_head(source.z), source.y)

    def _gap(self, step: Step) -> Float[Tensor, ""]:
        return classifier_discrepancy(step.target.logits, self.second_head(step.target.z))
