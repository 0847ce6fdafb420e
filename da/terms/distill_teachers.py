"""Distillation of several teachers into one student, on target rows."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.models.network import Network
from da.terms.base import Term
from da.transfer.panel import Panel
from da.transfer.teachers import Labels, check_distillation, soft_labels
from da.types import Step


def soft_label_loss(logits: Tensor, q: Tensor, temperature: float) -> Float[Tensor, ""]:
    """T^2 KL(q || softmax(logits / T)), the mean over all rows; a row of `q` that is all zeros counts as 0.

    Hinton, Vinyals & Dean 2015, sec. 2, as `LogitDistillation`. With k of the n rows kept the gradient is k / n of what
    the kept rows alone would give: the loss fades where the teachers have nothing to say.
    """
    log_p = (logits / temperature).log_softmax(dim=1)
    return temperature**2 * F.kl_div(log_p, q, reduction="batchmean")


class TeacherDistillation(Term):
    """`soft_label_loss` of the target rows against what the `teachers` say of them, batch by batch.

    What they say is constant in backward. Weights by similarity or infomax are those of the batch of all processes
    together. Measures: `kept`, the fraction of rows that are labelled; `agreement`, that of rows where all teachers
    find the same class most probable; `weight_<k>`, the mean weight of each, where they differ.

    Args:
        teachers: who they are and how their answers are combined.
        temperature: T.
        labels: "soft": the combined probabilities; "hard": the most probable class alone.
    """

    streams = frozenset({"target"})

    def __init__(self, teachers: Panel | None = None, temperature: float = 2.0, labels: Labels = "soft") -> None:
        super().__init__()
        check_distillation(temperature, labels)
        self.teachers = Panel() if teachers is None else teachers
        self.temperature, self.labels = temperature, labels
        self.may_be_idle = self.teachers.leaves_rows_out

    def prepare(self, net: Network) -> None:
        self.teachers.prepare(net)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        answer = self.teachers([step.batch["target"].x])
        self.measures = answer.measures
        q = soft_labels(answer.combined, self.temperature, self.labels)
        return soft_label_loss(step.target.logits, q, self.temperature)


class AssignedDistillation(Term):
    """`soft_label_loss` of the target rows against labels [rows, c] that a method assigned, looked up by row number.

    Measures: those that were assigned with them, of all rows.
    """

    streams = frozenset({"target"})
    q: Tensor
    shares: Tensor

    def __init__(self, temperature: float, may_be_idle: bool) -> None:
        super().__init__()
        self.temperature, self.may_be_idle = temperature, may_be_idle
        self.names: tuple[str, ...] = ()
        self.register_buffer("q", torch.empty(0, 0), persistent=False)
        self.register_buffer("shares", torch.empty(0), persistent=False)

    def assign(self, q: Tensor, measures: Mapping[str, Tensor]) -> None:
        """Take the labels of all target rows, in row order, and what is to be logged of them."""
        self.q, self.names = q, tuple(measures)
        self.shares = torch.stack([measures[name] for name in self.names]).to(q)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        if not len(self.q):
            raise ValueError("no labels were assigned before the first step; use this term in method=teachers")
        self.measures = dict(zip(self.names, self.shares, strict=True))
        return soft_label_loss(step.target.logits, self.q[step.target.index], self.temperature)
