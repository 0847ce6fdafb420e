"""Margin disparity discrepancy."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from da.models.mlp import Mlp
from da.schedules import Ramp, Schedule
from da.terms.adversarial import reverse_gradient
from da.terms.base import Term
from da.types import Step


def log_other(logits: Float[Tensor, "n c"], classes: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """log(1 - softmax(logits)[class]) of each row, as a difference of log-sum-exps: finite where softmax is 1."""
    own = F.one_hot(classes, logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf).logsumexp(dim=1) - logits.logsumexp(dim=1)


class Mdd(Term):
    """gamma mean_s[-log s_h(f'(z_s))] - mean_t[log(1 - s_h(f'(z_t)))]: minus the disparity, which f' minimises.

    Zhang et al. 2019, ICML, "Bridging theory and algorithm for domain adaptation", the combination with the cross
    entropy: s is the softmax, h the class that the network's own head predicts, f' an auxiliary head [n, d] -> [n, c],
    and gamma = exp(rho) for the margin rho. f' learns to agree with the head on the source and not on the target; the
    features receive the reversed gradient, through f' alone: h is a class, so nothing reaches the head. Row means. The
    paper's eta is `reversal`.

    Measures the mean s_h of each domain, `agreement_source` and `agreement_target`: where the domains
    are alike, the best f' has gamma / (1 + gamma) on both.

    ValueError for fewer than two classes, or a `gamma` that is not positive.
    """

    same_classes = True

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        gamma: float = 4.0,
        hidden_dims: Sequence[int] = (1024,),
        dropout: float = 0.5,
        reversal: Schedule | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"num_classes must be 2 or more, got {num_classes}: a single class has no other")
        if gamma <= 0:
            raise ValueError(f"gamma must be positive, got {gamma}")
        self.gamma = gamma
        self.auxiliary_head = Mlp(feature_dim, [*hidden_dims, num_classes], dropout=dropout)
        # 0.1: the authors' code
        self.reversal: Schedule = reversal if reversal is not None else Ramp(high=0.1)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        z = torch.cat([step.source.z, step.target.z])
        logits = self.auxiliary_head(reverse_gradient(z, self.reversal(step.progress)))
        logits_s, logits_t = logits.split([len(step.source.z), len(step.target.z)])
        h_s, h_t = step.source.logits.argmax(dim=1), step.target.logits.argmax(dim=1)
        agree_s = F.cross_entropy(logits_s, h_s, reduction="none")
        differ_t = log_other(logits_t, h_t)
        self.measures = {
            "agreement_source": torch.exp(-agree_s.detach()).mean(),
            "agreement_target": -torch.expm1(differ_t.detach()).mean(),
        }
        return self.gamma * agree_s.mean() - differ_t.mean()
