"""Adaptive feature norm: features with larger norms transfer better."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.distributed import gather
from da.terms.base import Term
from da.types import Encoded, Step


def _norms(rows: Encoded) -> Float[Tensor, " n"]:
    return torch.linalg.vector_norm(rows.z, dim=1)


class HardFeatureNorm(Term):
    """(mean |z_s| - R)^2 + (mean |z_t| - R)^2: both domains' mean feature norms at one radius.

    HAFN (Xu et al. 2019, "Larger Norm More Transferable", Hard Adaptive Feature Norm); R = `radius`, 25 in the paper.
    The means are over the rows of all processes; nothing is held constant in backward. Measures: `norm_source` and
    `norm_target`, the two means. ValueError for a radius that is not positive.
    """

    def __init__(self, radius: float = 25.0) -> None:
        super().__init__()
        if radius <= 0:
            raise ValueError(f"radius must be positive, got {radius}")
        self.radius = radius

    def forward(self, step: Step) -> Float[Tensor, ""]:
        source, target = gather(_norms(step.source)).mean(), gather(_norms(step.target)).mean()
        self.measures = {"norm_source": source.detach(), "norm_target": target.detach()}
        return (source - self.radius).square() + (target - self.radius).square()


class StepwiseFeatureNorm(Term):
    """Mean over the rows of (|z| - (|z|_now + dr))^2, of the source plus of the target: each norm grows by a step.

    SAFN (Xu et al. 2019, Stepwise Adaptive Feature Norm); dr = `increment`, 1 in the paper. |z|_now is the same norm
    held constant in backward. So the value is always 2 dr^2 and says nothing; the gradient on a row is -2 dr z / |z|
    over its domain's number of rows. What there is to see are the measures `norm_source` and `norm_target`, the mean
    norms. The paper's mean is over the rows of both domains together, half of this at equal numbers of rows; this sum
    of two means is the authors' code. ValueError for an increment that is not positive.
    """

    def __init__(self, increment: float = 1.0) -> None:
        super().__init__()
        if increment <= 0:
            raise ValueError(f"increment must be positive, got {increment}")
        self.increment = increment

    def forward(self, step: Step) -> Float[Tensor, ""]:
        source, target = _norms(step.source), _norms(step.target)
        self.measures = {"norm_source": source.detach().mean(), "norm_target": target.detach().mean()}
        # |z| - |z|_now first: 0 to the last bit, so dr is not lost beside a norm of 1e5
        return sum(((norms - norms.detach()) - self.increment).square().mean() for norms in (source, target))  # type: ignore[return-value]
