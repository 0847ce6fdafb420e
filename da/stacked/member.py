"""One run of a stack: what callbacks and loggers see of it, and what it leaves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from da.callbacks.metrics_file import MetricsFile
from da.callbacks.selection import Scores
from da.data.base import DomainData
from da.stacked.stack import Stack
from da.types import Encoded, Role, Samples


class Member:
    """Stands for the method of one run before its own `Scores`, which were written for a method by itself.

    Args:
        cfg: of the run.
        stack: that it is trained in.
        number: of the run in the stack.
        scores: of this run alone.
        data: of its seed.
    """

    def __init__(self, cfg: DictConfig, stack: Stack, number: int, scores: Scores, data: DomainData) -> None:
        self.cfg, self.stack, self.number, self.scores, self.data = cfg, stack, number, scores, data
        self.folder, self.seed = Path(cfg.run_dir), stack.seed_of[number]
        self.logger: Any = None  # writes metrics.csv, from `start` on
        self.error: Exception | None = None
        self.best = float("-inf")
        self.selected: dict[str, Tensor] = {}  # its part of the weights that the validator chose
        self.last: dict[str, Tensor] = {}  # and of those after the last epoch

    def start(self) -> None:
        """Begin metrics.csv."""
        self.logger = MetricsFile(self.folder)

    @property
    def started(self) -> bool:
        """Whether its folder is its own."""
        return self.logger is not None

    @property
    def evaluated(self) -> tuple[Role, ...]:
        return self.stack.method.evaluated

    @property
    def streams(self) -> frozenset[str]:
        return self.stack.method.streams

    @property
    def device(self) -> torch.device:
        return self.stack.device

    @property
    def trainer(self) -> Any:
        return self.stack.trainer

    @property
    def batches_seen(self) -> int:
        return self.stack.method.batches_seen

    def prepared(self, rows: Samples) -> Samples:
        """Return the rows as a step is given them."""
        return self.stack.method.prepared(rows)

    def encode_stream(self, rows: Samples, stream: str) -> Encoded:
        """Run this run's network over one stream."""
        return self.stack.only(self.number, lambda method: method.encode_stream(rows, stream))

    def log_dict(self, values: Mapping[str, float], rank_zero_only: bool = False) -> None:
        """Write the values into the run's metrics.csv; "step" is where on the x-axis."""
        rest: dict[str, Tensor | float] = {name: value for name, value in values.items() if name != "step"}
        self.logger.log_metrics(rest, step=int(values["step"]))

    def part_of(self, rows: Encoded) -> Encoded:
        """Return this run's part of what the runs of its seed encoded."""
        number = self.number - self.stack.runs_of(self.seed).start
        return rows._replace(z=rows.z[number], logits=rows.logits[number])

    def keep_if_best(self) -> None:
        """Keep the weights if the selecting validator calls them better than all before."""
        score = self.scores.history[-1][self.scores.monitor]
        if score > self.best:
            self.best, self.selected = score, self.stack.own_state(self.number)
