"""Several teachers asked about the same rows, and their answers made one."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from da.models.frozen import FrozenCopy
from da.models.network import Network
from da.models.teacher import Teacher
from da.transfer.similarity import batch_norms, domain_distance, watch_batch_norm
from da.transfer.teachers import (
    Combined,
    Rule,
    Weighing,
    agreement,
    by_entropy,
    extension,
    information,
    intersection,
    union,
)


class Answer(NamedTuple):
    """What the teachers together say of some rows."""

    combined: Combined
    measures: Mapping[str, Tensor]  # fractions of the rows: kept, and where all agree; mean weights of the teachers


class Panel(nn.Module):
    """Teachers of any architecture, and how what they say is combined. Everything they say is constant in backward.

    Args:
        runs: what teaches: folders of complete runs, or checkpoints of runs with the student's network. Without any,
            the network as it starts (after `init_from` and a source stage) is the only teacher.
        combine: "union": the most confident teacher labels the row; "intersection": a row is labelled where all find
            the same class most probable; "extension": the weighted mean of their probabilities.
        threshold: on the confidence, the largest probability of the answer, in [0, 1]; rows below it are left out.
        weigh_by: of the mean. "uniform"; "entropy": each row by exp(-H(p_k)); "similarity": softmax of minus
            `domain_distance` between the rows and the teacher's batch norm; "infomax": softmax of `information`.
            The last two are one weight a teacher.
        temperatures: what the logits of each are divided by, as `da calibrate` finds them; None: 1.

    Raises ValueError for options that are out of range or contradict one another.
    """

    def __init__(
        self,
        runs: Sequence[str] = (),
        combine: Rule = "extension",
        threshold: float = 0.0,
        weigh_by: Weighing = "uniform",
        temperatures: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        for option, value, known in (("combine", combine, Rule), ("weigh_by", weigh_by, Weighing)):
            if value not in get_args(known):
                raise ValueError(f"{option}={value!r}: expected one of {', '.join(get_args(known))}")
        if combine != "extension" and weigh_by != "uniform":
            raise ValueError(f"weigh_by={weigh_by} is of the mean, but combine={combine} takes none: leave it uniform")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        if len(set(runs)) < len(runs):
            raise ValueError(f"runs names a teacher more than once: {', '.join(runs)}")
        if temperatures is not None and (len(temperatures) != max(len(runs), 1) or min(temperatures) <= 0):
            raise ValueError(
                f"temperatures={list(temperatures)}: expected {max(len(runs), 1)} positive numbers, one a teacher"
            )
        self.runs, self.combine, self.threshold, self.weigh_by = tuple(runs), combine, threshold, weigh_by
        self.temperatures = tuple(temperatures) if temperatures is not None else (1.0,) * max(len(runs), 1)
        self.members = nn.ModuleList()

    @property
    def leaves_rows_out(self) -> bool:
        """Whether there can be batches without a labelled row."""
        return self.combine == "intersection" or self.threshold > 0

    def prepare(self, net: Network) -> None:
        """Read the teachers, or copy the network as it is.

        Raises FileNotFoundError or ValueError as `Teacher` does, and for one without batch norm under "similarity".
        """
        self.members = nn.ModuleList([Teacher(run, net) for run in self.runs] or [FrozenCopy(net)])
        if self.weigh_by == "similarity":
            for name, member in zip(self.runs or ["the start"], self.members, strict=True):
                try:
                    batch_norms(_network(member))
                except ValueError as error:
                    raise ValueError(f"weigh_by=similarity with the teacher {name}: {error}") from error

    @torch.no_grad()
    def forward(self, batches: Iterable[Any], student: Network | None = None) -> Answer:
        """Return the answer for the rows of all batches below one another.

        A `student` is one more teacher, at temperature 1; it should be in evaluation mode.
        """
        members = [*self.members, *([] if student is None else [student])]
        temperatures = [*self.temperatures, *([] if student is None else [1.0])]
        if not len(self.members):
            raise ValueError("the teachers are not there before prepare(net) was called")
        with ExitStack() as stack:
            networks = [_network(member) for member in members] if self.weigh_by == "similarity" else []
            watched = [stack.enter_context(watch_batch_norm(net)) for net in networks]
            parts = [
                torch.stack([_log_p(member, x, t) for member, t in zip(members, temperatures, strict=True)])
                for x in batches
            ]
        log_p = torch.cat(parts, dim=1)
        distances = [domain_distance(net, found) for net, found in zip(networks, watched, strict=True)]
        return self._answer(log_p, distances)

    def _answer(self, log_p: Tensor, distances: list[Tensor]) -> Answer:
        weights = self._weights(log_p, distances)
        match self.combine:
            case "union":
                combined = union(log_p, self.threshold)
            case "intersection":
                combined = intersection(log_p, self.threshold)
            case "extension":
                combined = extension(log_p, weights, self.threshold)
        measures = {"kept": combined.kept, "agreement": agreement(log_p)}
        if self.combine == "extension" and self.weigh_by != "uniform":
            measures |= {f"weight_{k}": weight for k, weight in enumerate(weights, start=1)}
        return Answer(combined, {name: value.to(log_p.dtype).mean() for name, value in measures.items()})

    def _weights(self, log_p: Tensor, distances: list[Tensor]) -> Tensor:
        """Return [k, 1], or [k, n]."""
        match self.weigh_by:
            case "uniform":
                return log_p.new_full((len(log_p), 1), 1 / len(log_p))
            case "entropy":
                return by_entropy(log_p)
            case "similarity":
                return (-torch.stack(distances)).softmax(dim=0).to(log_p)[:, None]
            case "infomax":
                return information(log_p).softmax(dim=0)[:, None]


def _network(member: nn.Module) -> Network:
    return cast(Network, member.module if isinstance(member, Teacher | FrozenCopy) else member)


def _log_p(member: nn.Module, x: Any, temperature: float) -> Tensor:
    """Of the target's classes, should each domain have its own."""
    logits = _network(member).logits_of("target", member(x)[1])
    return (logits / temperature).log_softmax(dim=1)
