"""Mixup: straight lines between the predictions of two rows."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.discrepancies.base import Draws
from da.distributed import gather, shard
from da.models.batch_norm import keep_running_statistics
from da.terms.base import Term
from da.terms.vat import Classify, classifier_and_input
from da.types import Step


class Mixup(Term):
    """Mean cross entropy of a x_i + (1 - a) x_j against a y_i + (1 - a) y_j, within one domain.

    Zhang et al. 2018, eq. 1 and figure 1: one a ~ Beta(alpha, alpha) a batch, and j a random permutation of the rows
    of all processes. y is the label on `source`, `labeled` and `oracle`; on the target it is the network's prediction
    on the unmixed rows by themselves, held constant in backward. One more forward pass, or two on the target, in which
    running statistics of batch norms are not touched: mixed rows are no samples of the domain. Inputs must be
    floating point tensors: ValueError otherwise.

    Args:
        alpha: of the Beta distribution; 0.1 to 0.4 on ImageNet and 1 on CIFAR in the paper.
        stream: whose rows are mixed.
        seed: of the coefficients and permutations.
    """

    order_invariant = False

    def __init__(self, alpha: float = 0.2, stream: str = "target", seed: int = 0) -> None:
        super().__init__()
        if alpha <= 0:
            raise ValueError(f"alpha must be positive, got {alpha}")
        self.alpha, self.stream = alpha, stream
        self.streams = frozenset({stream})
        self.draws = Draws(seed)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        classify, x = classifier_and_input(step, self.stream, "Mixup")
        y = self._wanted(step, classify, x)
        everyone, labels = gather(x), gather(y)
        share, order = self._draw(len(everyone))
        partner = shard(order).to(x.device)
        mixed_x = share * x + (1 - share) * everyone[partner]
        mixed_y = share * y + (1 - share) * labels[partner]
        with keep_running_statistics(step.net):
            return F.cross_entropy(classify(mixed_x), mixed_y)

    @torch.no_grad()
    def _wanted(self, step: Step, classify: Classify, x: Tensor) -> Float[Tensor, "n c"]:
        if self.stream.startswith("target"):
            # Not the step's own predictions: batch norm saw the source with them, and the mixed rows alone. Taught
            # across that gap, the network drifts into one class.
            with keep_running_statistics(step.net):
                return classify(x).softmax(dim=1)
        rows = step.streams[self.stream]
        return F.one_hot(rows.y, rows.logits.shape[1]).to(rows.logits.dtype)

    @torch.compiler.disable
    def _draw(self, n: int) -> tuple[float, Tensor]:
        """Return the share of the row itself, and the number of every row's partner [n]."""
        generator = self.draws.generator()
        # torch has no Beta distribution that takes a generator
        share = float(np.random.default_rng(generator.initial_seed()).beta(self.alpha, self.alpha))
        return share, torch.randperm(n, generator=generator)
