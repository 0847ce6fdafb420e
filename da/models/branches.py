"""Structure transfer: a frozen branch beside a trained one, fused into one backbone."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from da.models.fusion_operators import FusionOperator, mean_over_positions
from da.models.state import load_backbone


class Branches(nn.Module):
    """F(x) = F1(x) (+) F2(x), F1 frozen and F2 trained: x -> [n, out_dim].

    F1 needs no gradient and stays in evaluation mode whatever `train()` asks for, so not even its batch norm's
    statistics change; a gradient with respect to x passes through it. Maps are averaged over their positions after
    the fusion.

    Args:
        frozen: F1, any backbone: a module with an `out_dim`.
        trained: F2, a backbone that reads the same x; None: F2 is F1, and only the fusion learns.
        fusion: builds (+) from the widths of both, one of `da.models.fusion_operators`.
        source_checkpoint: of a run whose network has the backbone `frozen`, which takes its weights from there; the
            run's bottleneck and head stay out.

    Raises ValueError if nothing would be trained, and what `load_backbone` raises.
    """

    fresh: Sequence[str] = ("fusion",)

    def __init__(
        self,
        frozen: nn.Module,
        trained: nn.Module | None,
        fusion: Callable[[int, int], FusionOperator],
        source_checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        if source_checkpoint is not None:
            load_backbone(frozen, source_checkpoint)
        self.frozen, self.trained = frozen.requires_grad_(False), trained
        widths = [cast(int, branch.out_dim) for branch in (frozen, trained or frozen)]
        self.fusion = fusion(*widths)
        if trained is None and not any(True for _ in self.fusion.parameters()):
            raise ValueError(
                f"net.backbone.trained=null leaves nothing to train: {type(self.fusion).__name__} has no parameters"
            )
        self.out_dim = self.fusion.out_dim
        self.train(self.training)

    def train(self, mode: bool = True) -> "Branches":
        """Leave the frozen branch in evaluation mode."""
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: Any) -> Tensor:
        f1 = self.frozen(x)
        f2 = f1 if self.trained is None else self.trained(x)
        return mean_over_positions(self.fusion(f1, f2))
