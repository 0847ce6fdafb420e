"""Source accuracy and source risk."""

from torch import Tensor
from torch.nn import functional as F

from da.types import Role
from da.validators.base import Seen, Validator

SOURCE: frozenset[Role] = frozenset({"source"})


class SourceAccuracy(Validator):
    """Accuracy on held-out source rows: says nothing of the target, but sees a model that has collapsed."""

    reads = SOURCE
    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        source = seen.need_source()
        return (source.logits.argmax(dim=1) == source.y).float().mean()

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 0.0, 1.0


class SourceRisk(Validator):
    """Minus the mean cross-entropy of held-out source rows, in nats: 0 when all are right and certain."""

    reads = SOURCE
    resists_collapse = True

    def score(self, seen: Seen) -> Tensor:
        source = seen.need_source()
        return -F.cross_entropy(source.logits, source.y)

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return -float("inf"), 0.0
