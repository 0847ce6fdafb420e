"""The ways to make one network of several, each with batch norm statistics that are its own."""

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from da.fuse.trial import Trial
from da.transfer.curve import COLUMNS, Choice, Point, best
from da.transfer.fusion import State, add_tasks, fuse, greedy_soup
from da.transfer.statistics import stale_statistics
from da.types import Role

Groups = Mapping[str, Sequence[float]]


class Fused(NamedTuple):
    """A network made of others."""

    state: dict[str, Tensor]
    statistics: str | None  # what was done about those of batch norm; None where they still hold, or there are none
    record: dict[str, Any]  # how it was made, in plain values


class Fusing:
    """Makes networks of `states`, which fit one another.

    Args:
        states: parameters and buffers by name, without "net.".
        runs: folders of the runs that are known. The data of the first choose, and estimate statistics.
        fixed: what the result has in any case, whatever was mixed.
        keep_statistics: whether running statistics of batch norm are mixed as parameters, and kept so.
        choice: what `sweep` and the greedy `soup` go by.
        domains, device, batches: see `Trial`.

    Raises ValueError where a run is needed and not known.
    """

    def __init__(
        self,
        states: Sequence[State],
        runs: Sequence[Path],
        fixed: State | None = None,
        keep_statistics: bool = False,
        choice: Choice = "source",
        domains: frozenset[Role] | None = None,
        device: str = "auto",
        batches: int | None = None,
    ) -> None:
        self.states, self.runs, self.fixed = list(states), list(dict.fromkeys(runs)), dict(fixed or {})
        self.keep_statistics, self.choice = keep_statistics, choice
        self.domains, self.device, self.batches = domains, device, batches

    @cached_property
    def trial(self) -> Trial:
        """The run's data and network, read at the first use."""
        if not self.runs:
            raise ValueError(
                "no checkpoint lies in the folder of a run, whose data are needed for a choice, and for the statistics "
                "of batch norm after mixing: --run RUN names one (--keep-statistics mixes statistics as parameters)"
            )
        first = {key: value for key, value in self.states[0].items() if key.startswith("backbone.")}
        one = all(torch.equal(state[key], value) for state in self.states[1:] for key, value in first.items())
        return Trial(self.runs, self.domains, self.device, self.batches, one)

    def mix(self, shares: Sequence[float], groups: Groups | None = None) -> Fused:
        """Return sum_i shares_i theta_i; see `da.transfer.fusion.fuse`."""
        how = {
            "how": "mix",
            "shares": list(shares),
            "groups": {name: list(own) for name, own in (groups or {}).items()},
        }
        return self._finished(fuse(self.states, shares, groups), how)

    def add(self, scale: float) -> Fused:
        """Return theta_0 + scale * sum_i (theta_i - theta_0), of the first of the states and the others."""
        return self._finished(
            add_tasks(self.states[0], self.states[1:], scale), {"how": "task arithmetic", "scale": scale}
        )

    def soup(self, kind: Literal["uniform", "greedy"]) -> Fused:
        """Return the mean of all networks, or of those that `greedy_soup` keeps by the choice."""
        n = len(self.states)
        if kind == "uniform":
            return self._finished(fuse(self.states, [1 / n] * n), {"how": "uniform soup"})
        state, kept = greedy_soup(self.states, self._score)
        fused = self._finished(state, {"how": "greedy soup", "soup": kept})
        return fused._replace(record=fused.record | self._chosen(self.trial.score(fused.state, self.choice)))

    def sweep(self, alphas: Sequence[float], groups: Groups | None = None) -> tuple[Fused, list[Point], float]:
        """Return the mix of two networks that the choice picks, what was measured at every alpha, and its alpha."""
        points: list[Point] = []
        picked: Fused | None = None
        for alpha in alphas:
            fused = self.mix([alpha, 1 - alpha], groups)
            points.append(self.trial.measure(fused.state, alpha, self.choice))
            shown = ("source_acc", "source_loss", "infomax")
            scores = "  ".join(f"{name} {value:.4f}" for name in shown if (value := points[-1][name]) is not None)
            print(f"alpha {alpha:.3f}  {scores}", file=sys.stderr, flush=True)
            if best(points, self.choice) == len(points) - 1:
                picked = fused
        assert picked is not None
        chosen = points[best(points, self.choice)]
        record = picked.record | {"how": "sweep"} | self._chosen(chosen[COLUMNS[self.choice][0]])
        return picked._replace(record=record), points, float(chosen["alpha"] or 0.0)

    def _score(self, state: State) -> float:
        return self.trial.score(self._finished(dict(state), {}).state, self.choice)

    def _chosen(self, score: float | None) -> dict[str, Any]:
        labels = [self.choice] if self.choice in ("labeled", "oracle") else []
        return {"chosen_by": self.choice, "score": score, "target_labels": labels}

    def _finished(self, state: dict[str, Tensor], record: dict[str, Any]) -> Fused:
        state = {key: self.fixed.get(key, value) for key, value in state.items()}
        done: str | None = None
        if stale := stale_statistics(state, self.states, of_one=self.fixed):
            if self.keep_statistics:
                done = "running statistics of batch norm mixed as parameters, as asked"
            else:
                state, done = self.trial.refreshed(state, stale)
        return Fused(state, done, {"target_labels": [], **record, "statistics": done})
