"""FixMatch: a confident prediction on a weak view is the label of the strong view."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.terms.base import Term
from da.types import Step


class FixMatch(Term):
    """1/n sum_i [max q_i >= threshold] H(q^_i, p_i): q from `target` (weak), p from `target_strong`, the same rows.

    Sohn et al. 2020, eq. 4: the mean is over all n rows, also those below the threshold. q^ is the most probable class,
    or with a `temperature` the softmax of the weak logits divided by it; the threshold is on q itself. The weak view is
    held constant in backward. Measures: `kept`, the fraction of rows at or above the threshold.

    Args:
        threshold: in [0, 1]; the paper's is 0.95.
        temperature: of soft labels; none for the paper's hard labels.
    """

    streams = frozenset({"target", "target_strong"})
    constant_streams = frozenset({"target"})

    def __init__(self, threshold: float = 0.95, temperature: float | None = None) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        if temperature is not None and temperature <= 0:
            raise ValueError(f"temperature must be positive, or none for hard labels, got {temperature}")
        self.threshold, self.temperature = threshold, temperature

    def forward(self, step: Step) -> Float[Tensor, ""]:
        weak, strong = step.target.logits.detach(), step.streams["target_strong"].logits
        largest, labels = weak.softmax(dim=1).max(dim=1)
        kept = (largest >= self.threshold).to(strong.dtype)
        self.measures = {"kept": kept.mean()}
        wanted = labels if self.temperature is None else (weak / self.temperature).softmax(dim=1)
        return (kept * F.cross_entropy(strong, wanted, reduction="none")).mean()
