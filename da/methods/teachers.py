"""Several teachers, of any architecture, distilled into one student on unlabelled target rows. Source-free."""

from collections.abc import Mapping
from typing import Any, final

from da.methods.base import JointMethod
from da.models.network import Network
from da.models.optimizer import OptimizerFactory
from da.schedules import Schedule
from da.terms.base import Losses, Objective
from da.terms.distill_teachers import AssignedDistillation
from da.transfer.panel import Panel
from da.transfer.teachers import Labels, check_distillation, soft_labels
from da.types import Role, Step

SAVED = "teachers"
"""In a checkpoint to resume from: the labels that were assigned, which a student may have had a part in."""


@final
class Teachers(JointMethod):
    """L = lambda T^2 KL(q || p_student) on the target rows that the teachers label.

    q is assigned to all target rows before the first epoch, and again every `refresh` epochs with the student, as it is
    then, as one more teacher. It is saved in last.ckpt, so that a resumed run goes on with the same. The source is
    closed during training; the test after it scores both domains.

    Args:
        net: the student.
        optimizer: see `Method`.
        teachers: who they are and how their answers are combined.
        temperature: T.
        labels: "soft": the combined probabilities; "hard": the most probable class alone.
        refresh: epochs between two assignments; 0: the first one stays.
        weights: of the term `distill`.
        lr_schedule: see `Method`.
    """

    streams = frozenset({"target"})
    evaluated: tuple[Role, ...] = ("target",)

    def __init__(
        self,
        net: Network,
        optimizer: OptimizerFactory,
        teachers: Panel | None = None,
        temperature: float = 2.0,
        labels: Labels = "soft",
        refresh: int = 0,
        weights: Mapping[str, Schedule] | None = None,
        lr_schedule: Schedule | None = None,
    ) -> None:
        super().__init__(net, optimizer, lr_schedule)
        check_distillation(temperature, labels)
        if refresh < 0:
            raise ValueError(f"refresh={refresh} must be a number of epochs, or 0 for never")
        self.teachers = Panel() if teachers is None else teachers
        self.teachers.prepare(net)
        self.labels, self.refresh = labels, refresh
        self.distill = AssignedDistillation(temperature, self.teachers.leaves_rows_out)
        self.objective = Objective({"distill": self.distill}, weights)

    def loss(self, step: Step) -> Losses:
        return self.objective(step)

    def on_train_epoch_start(self) -> None:
        if not len(self.distill.q):
            self._assign(None)
        elif self.refresh and self.current_epoch and self.current_epoch % self.refresh == 0:
            self._assign(self.net)

    def _assign(self, student: Network | None) -> None:
        answer = self.teachers((rows.x for rows in self.all_rows("target")), student)
        q = soft_labels(answer.combined, self.distill.temperature, self.labels)
        if not answer.combined.kept.any():
            raise ValueError(
                f"teachers.combine={self.teachers.combine} with threshold={self.teachers.threshold} labels none of the "
                f"{len(q)} target rows: lower the threshold, or combine them otherwise"
            )
        self.distill.assign(q, answer.measures)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "optimizer_states" in checkpoint:  # else it is selected.ckpt, of weights alone
            shares = dict(zip(self.distill.names, self.distill.shares, strict=True))
            checkpoint[SAVED] = {"q": self.distill.q, "measures": shares}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if SAVED in checkpoint:
            saved = checkpoint[SAVED]
            self.distill.assign(saved["q"].to(self.device), saved["measures"])
