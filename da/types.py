"""The records that flow through a training step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

HIDDEN = -1
"""What stands in place of a label that training must not see."""

Role = Literal["source", "target"]

ROLE_OF_STREAM: Mapping[str, Role] = {
    "source": "source",
    "target": "target",
    "target_strong": "target",
    "labeled": "target",
    "labeled_twin": "target",
    "oracle": "target",
}
"""Training streams and the domain each one reads: `target` has its labels hidden, `target_strong` is a strong view
of the same rows in the same order, `labeled` shows k labels a class, `labeled_twin` is those rows in the same order
under another draw of the augmentation, `oracle` shows all labels."""

UNENCODED = frozenset({"labeled_twin"})
"""Streams that the network is not run on: a term that reads one does so itself, from the step's `batch`."""


class Samples(NamedTuple):
    """A batch of dataset rows."""

    x: Any  # whatever the backbone accepts: an image tensor, a dict of token tensors, a series, a row
    y: Tensor  # [n] class index, HIDDEN where the label must not be seen
    domain: Tensor  # [n] integer id of the domain each row came from
    index: Tensor  # type: ignore[assignment]  # [n] row number in its dataset; tuple.index is not needed


Batch = Mapping[str, Samples]
"""Stream name -> samples of that stream."""


def take_rows(x: Any, rows: Tensor) -> Any:
    """Rows of an input: of a tensor [N, ...], or of every tensor of a mapping."""
    if isinstance(x, Mapping):
        return {name: take_rows(part, rows) for name, part in x.items()}
    return x.index_select(0, rows)  # copies whole rows; x[rows] copies element by element, ten times as slow for images


def join_rows(inputs: Sequence[Any]) -> Any:
    """Inputs of one kind, tensors [n_i, ...] or mappings of such, below one another."""
    if isinstance(inputs[0], Mapping):
        return {name: torch.cat([x[name] for x in inputs]) for name in inputs[0]}
    return torch.cat(list(inputs))


class Encoded(NamedTuple):
    """One stream after the network: the samples without x, with features and logits."""

    z: Tensor  # [n, d]
    logits: Tensor  # [n, c]
    y: Tensor  # [n]
    domain: Tensor  # [n]
    index: Tensor  # type: ignore[assignment]  # [n]
    layers: Mapping[str, Tensor] = {}  # the layers that the terms name, [n, ...] each


class Step(NamedTuple):
    """Everything a term may look at."""

    streams: Mapping[str, Encoded]
    progress: float  # fraction of the training done, in [0, 1]
    batch: Batch = {}  # what the network was given, for terms that run it on something else
    net: Callable[[Any], tuple[Tensor, Tensor]] | None = None  # the network: x -> (z, logits)
    # Features ("z") and layers as they left the network, before they were cut into streams: a gradient that comes
    # back through the logits reaches these, not the streams' parts.
    whole: Mapping[str, tuple[Tensor, ...]] = {}

    @property
    def source(self) -> Encoded:
        return self.streams["source"]

    @property
    def target(self) -> Encoded:
        return self.streams["target"]
