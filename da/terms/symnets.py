"""Domain-symmetric networks."""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from da.models.network import Network
from da.schedules import Ramp, Schedule
from da.terms.base import Term
from da.terms.domain_confusion import through_constant
from da.types import Step


def log_domains(log_p: Float[Tensor, "n k"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Log-probabilities of source and target: those of the classes of each half of k = 2c, added up."""
    log_s, log_t = log_p.chunk(2, dim=1)
    return log_s.logsumexp(dim=1), log_t.logsumexp(dim=1)


def category_confusion(log_p: Float[Tensor, "n k"], y: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean of -(log p[y] + log p[y + c]) / 2 over the source rows: the label is as likely in either half."""
    log_s, log_t = log_p.chunk(2, dim=1)
    return (F.nll_loss(log_s, y) + F.nll_loss(log_t, y)) / 2


def domain_confusion(log_p: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Mean of -(log P(source) + log P(target)) / 2: log 2, its least value, where both are 1/2."""
    log_source, log_target = log_domains(log_p)
    return -(log_source + log_target).mean() / 2


def class_entropy(log_p: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Mean entropy of the classes, whatever the half: of q_k = p_k + p_(k + c)."""
    log_q = torch.logaddexp(*log_p.chunk(2, dim=1))
    return -(log_q.exp() * log_q).sum(dim=1).mean()


class SymNets(Term):
    """The two players of SymNets (Zhang et al. 2019, CVPR, "Domain-symmetric networks", sec. 3), as one sum.

    A source head C^s, this term's own, and a target head C^t, which is `net.head`, so predictions are C^t's. p [n, 2c]
    is the softmax of both heads' logits side by side. With the features held constant the heads learn E_task^s, the
    cross entropy of C^s on the source rows, and E_domain, the mean over source rows of -log P(source) plus that over
    target rows of -log P(target). With the heads held constant the features learn the category-level confusion of the
    source rows and, times `reversal`, the paper's lambda, the domain-level confusion plus the entropy of the target
    rows. All are row means; the value is the sum of all five.

    E_task^t, the cross entropy of C^t on the source rows, is the method's own L_S. There it trains the features too,
    where the paper trains C^t alone: with weight 0 the method is training on the source only.

    Nothing is reversed: `reversal` scales part of what the features receive. `accuracy` is that of P(source) >
    P(target), the mean of the domains'. ValueError where the step has no network.
    """

    same_classes = True

    def __init__(self, feature_dim: int, num_classes: int, reversal: Schedule | None = None) -> None:
        super().__init__()
        self.source_head = nn.Linear(feature_dim, num_classes)
        self.reversal: Schedule = reversal if reversal is not None else Ramp()

    def forward(self, step: Step) -> Float[Tensor, ""]:
        if step.net is None:
            raise ValueError("SymNets runs net.head again, but step.net is None")
        target_head = cast(Network, step.net).head
        source, sizes = step.source, [len(step.source.z), len(step.target.z)]
        z = torch.cat([source.z, step.target.z])

        fixed = z.detach()
        logits_s, logits_t = self.source_head(fixed), target_head(fixed)
        of_source, of_target = torch.cat([logits_s, logits_t], dim=1).log_softmax(dim=1).split(sizes)
        task = F.cross_entropy(logits_s[: sizes[0]], source.y)
        domain = -log_domains(of_source)[0].mean() - log_domains(of_target)[1].mean()
        self.measures = {"accuracy": _accuracy(of_source.detach(), of_target.detach())}

        seen = [through_constant(head, z) for head in (self.source_head, target_head)]
        of_source, of_target = torch.cat(seen, dim=1).log_softmax(dim=1).split(sizes)
        confusion = domain_confusion(of_target) + class_entropy(of_target)
        return task + domain + category_confusion(of_source, source.y) + self.reversal(step.progress) * confusion


def _accuracy(of_source: Float[Tensor, "n k"], of_target: Float[Tensor, "m k"]) -> Float[Tensor, ""]:
    (right_s, wrong_s), (wrong_t, right_t) = log_domains(of_source), log_domains(of_target)
    told_s, told_t = (right_s > wrong_s).to(right_s.dtype), (right_t >= wrong_t).to(right_t.dtype)
    return (told_s.mean() + told_t.mean()) / 2
