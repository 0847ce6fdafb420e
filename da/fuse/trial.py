"""A network made of others, tried out on the data of a run: its batch norm statistics, losses and accuracies."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from da.assemble import cache_features
from da.build import build
from da.data.base import DomainData
from da.data.rows import Rows
from da.models.saved import build_network, read_config, read_results
from da.stage import build_method
from da.transfer.curve import COLUMNS, Choice, Point
from da.transfer.statistics import estimate_statistics
from da.types import HIDDEN, ROLE_OF_STREAM, Encoded, Role, join_rows
from da.use import choose_device, moved, network_logits
from da.validators.base import Seen
from da.validators.infomax import InformationMaximisation

State = Mapping[str, Tensor]


class Trial:
    """The network and the data of a run, for weights that are not the run's.

    Args:
        runs: folders of runs, which must have got as far as their config.yaml. Network and data are those of the first.
        domains: those whose training rows estimate the statistics of batch norm; None: those whose rows the methods of
            `runs` feed to the networks that they train.
        device: "auto", "cpu" or "cuda".
        batches: at most so many training batches estimate the statistics; None: one pass over the rows of the longer
            domain.
        one_backbone: all weights to be loaded have one backbone, so that a run on cached features is tried on these.

    No data are opened before they are needed. Raises ValueError if they are no longer those of the run.
    """

    def __init__(
        self,
        runs: Sequence[Path],
        domains: frozenset[Role] | None = None,
        device: str = "auto",
        batches: int | None = None,
        one_backbone: bool = False,
    ) -> None:
        if batches is not None and batches < 1:
            raise ValueError(f"--batches {batches} must be at least 1")
        self.runs, self.folder, self.given_domains = runs, runs[0], domains
        self.device, self.batches = choose_device(device), batches
        cfg = read_config(self.folder)
        self.net = build_network(cfg.net).to(self.device)
        self.data: DomainData = build(cfg.data, "data")
        self.data.steps_per_epoch = None
        self.to_cache = one_backbone and bool(cfg.data.get("cache_features"))

    @cached_property
    def domains(self) -> frozenset[Role]:
        """Those whose training rows estimate the statistics."""
        return fed_domains(self.runs) if self.given_domains is None else self.given_domains

    def load(self, state: State) -> None:
        """Give the network these weights, which must be of its shape."""
        self.net.load_state_dict(state)
        if self.to_cache:  # only now has the backbone the weights that it keeps
            cache_features(self.net, self.data)
            self.to_cache = False

    def refreshed(self, state: State, stale: Sequence[str]) -> tuple[dict[str, Tensor], str]:
        """Return a network with new statistics of the `stale` batch norms, and what was done."""
        self.load(state)
        passes = estimate_statistics(self.net, self._inputs(), stale)
        rows = " + ".join(f"{self.data.batch_size[name]} {name}" for name in sorted(self.data.streams))
        new = {key: value.detach().cpu().clone() for key, value in self.net.state_dict().items()}
        return new, (
            f"statistics of {len(stale)} batch norm layer{'s' * (len(stale) > 1)} estimated anew in {passes} passes "
            f"over batches of {rows} training rows of {self.folder}, without labels"
        )

    def _inputs(self) -> Iterator[Any]:
        """Yield x of each forward pass over an epoch of training batches, by the network's batch norm policy."""
        if self.data.streams != self.domains:
            self.data.load(frozenset[str](self.domains))
        self._check_unchanged()
        for batch, *_ in islice(iter(self.data.train_dataloader()), self.batches):
            inputs = [rows.x for rows in batch.values()]
            for x in [join_rows(inputs)] if self.net.batch_norm == "joint" else inputs:
                yield moved(x, self.device)

    def _check_unchanged(self) -> None:
        """Raise ValueError if what has been opened is not what the run was trained and tested on; tell the notices."""
        recorded = read_results(self.folder).get("data_hashes", {})
        for name, sha256 in self.data.hashes().items():
            if recorded.get(name, sha256) != sha256:
                raise ValueError(f"the data {name!r} of {self.folder} have changed since it was trained")
        for notice in self.data.notices[self.data.told :]:
            print(f"data: {notice}", file=sys.stderr)
        self.data.told = len(self.data.notices)

    def score(self, state: State, choice: Choice) -> float:
        """Return what `choice` maximises; ValueError where its rows have no labels."""
        self.load(state)
        value = self._measured(choice)[COLUMNS[choice][0]]
        if value is None:
            raise ValueError(f"--choose {choice}: there are no labels to choose by")
        return value

    def measure(self, state: State, alpha: float, choice: Choice) -> Point:
        """Return the columns of a sweep: those of the source, of infomax, of the choice, and of the oracle."""
        self.load(state)
        point: dict[str, float | int | None] = {"alpha": alpha}
        for column in dict.fromkeys(("source", choice, "infomax", "oracle")):
            point |= self._measured(column)
        return point

    def _measured(self, choice: Choice) -> dict[str, float | int | None]:
        rows = self._rows(choice)
        self._check_unchanged()
        batches = (samples.x for samples in self.data.eval_loader(rows, shared=False))
        role: Role = "source" if choice == "source" else "target"
        logits = network_logits(self.net, batches, self.device, role)
        if choice == "infomax":
            hidden = torch.full_like(rows.y, HIDDEN)
            seen = Seen(Encoded(logits, logits, hidden, rows.domains, hidden))
            return {"infomax": float(InformationMaximisation().score(seen)), "infomax_rows": len(rows)}
        accuracy = COLUMNS[choice][0]
        known = rows.y != HIDDEN
        n = int(known.sum())
        y, logits = rows.y[known], logits[known].double()
        return {
            accuracy: int((logits.argmax(dim=1) == y).sum()) / n if n else None,
            accuracy.replace("_acc", "_loss"): float(F.cross_entropy(logits, y)) if n else None,
            accuracy.replace("_acc", "_rows"): n,
        }

    def _rows(self, choice: Choice) -> Rows:
        if choice == "labeled":
            if "labeled" not in self.data.available:
                raise ValueError(f"--choose labeled: {type(self.data).__name__} has no labelled target rows")
            return self.data.train_set("labeled")
        if choice == "source":
            return self.data.eval_set("source", "val")
        return self.data.eval_set("target", "val" if choice == "infomax" else "test")


def fed_domains(runs: Iterable[Path]) -> frozenset[Role]:
    """Return the domains whose rows the methods of these runs feed to the network that they train."""
    streams = frozenset[str]()
    for folder in runs:
        cfg = read_config(folder)
        streams |= build_method(cfg, "method", build_network(cfg.net)).streams  # a method knows it once it is built
    return frozenset(ROLE_OF_STREAM[stream] for stream in streams)
