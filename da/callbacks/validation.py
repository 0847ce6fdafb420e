"""The rows of a validation, without the target's labels, and the validators that score them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from da.data.base import DomainData
from da.data.rows import Draw
from da.data.streams import few_rows, some_rows, without_few
from da.types import HIDDEN, Encoded, Role, take_rows
from da.validators.base import Mix, SeenRows, Validator


class Validation:
    """Blanks the target's labels, but for the few that a validator is said to see, and asks the validators.

    Args:
        validators: by name.
    """

    def __init__(self, validators: Mapping[str, Validator]) -> None:
        self.validators = dict(validators)
        self.active: dict[str, Validator] = {}
        self.rows = SeenRows()
        self.shown: dict[int, Tensor] = {}  # labels a class -> numbers of the rows that have them

    @property
    def labels_seen(self) -> int:
        """How many target labels the validators were shown."""
        return max(map(len, self.shown.values()), default=0)

    def open(
        self, evaluated: tuple[Role, ...], streams: frozenset[str], data: DomainData | None
    ) -> Mapping[str, Validator]:
        """Return the validators whose domains the method opens; ValueError if one needs labels that aren't there."""
        self.active = {n: v for n, v in self.validators.items() if v.reads <= set(evaluated)}
        asked = {v.labels_per_class for v in self.active.values()} - {0}
        self.shown = {k: _shown_rows(data, k) for k in asked} if data is not None else {}
        return self.active

    def update(self, role: Role, rows: Encoded) -> None:
        """Take in the rows of a batch."""
        if role == "target":
            shown = torch.cat([*self.shown.values(), torch.tensor([], dtype=torch.long)]).to(rows.index.device)
            rows = rows._replace(y=rows.y.where(torch.isin(rows.index, shown), HIDDEN))
        self.rows.update(role, rows)

    @torch.no_grad()
    def compute(self, method: Any) -> tuple[dict[str, float], dict[str, float]]:
        """Return the scores of the rows since the last time, raw and normalised; the same on every process."""
        seen = self.rows.seen()
        self.rows.reset()
        scores, normalised = {}, {}
        for name, validator in self.active.items():
            own = seen._replace(target=seen.target._replace(y=self._labels(seen.target, validator)))
            if validator.mixes:
                own = own._replace(mix=_mixer(method, seen.target.index))
            scores[name] = float(validator.score(own))
            normalised[name] = validator.normalised(scores[name], own)
        return scores, normalised

    def _labels(self, target: Encoded, validator: Validator) -> Tensor:
        """The labels that this validator may see: each only its own."""
        shown = self.shown.get(validator.labels_per_class)
        if shown is None:
            return torch.full_like(target.y, HIDDEN)
        return target.y.where(torch.isin(target.index, shown.to(target.index.device)), HIDDEN)


def _shown_rows(data: DomainData, labels_per_class: int) -> Tensor:
    """Return the numbers, among the validated target rows, of k rows a class whose labels a validator may see.

    None of them is in the stream `labeled`, if that is trained on. ValueError where a class has fewer.
    """
    domain, classes = data.domain("target"), data.num_classes_of("target")
    trained = data.labels_per_class if "labeled" in data.streams and len(domain.val) == len(domain.train) else 0
    y = without_few(domain.val.y, trained, classes, data.seed)
    y = y[some_rows(len(y), data.val_rows, "val", "target")]
    return few_rows(y, labels_per_class, classes, data.seed, "a validator's labels_per_class")


def _mixer(method: Any, index: Tensor) -> Mix:
    """Return `Seen.mix`: the target rows are read once more, two at a time, and the network in evaluation mode."""
    data: DomainData = method.data
    rows, size = data.eval_set("target", "val"), data.eval_batch_size

    def mix(i: Tensor, j: Tensor, lam: float) -> Tensor:
        logits = []
        for a, b in zip(index[i].cpu().split(size), index[j].cpu().split(size), strict=True):
            both = rows[Draw(torch.cat([a, b]), 0)]
            x = method.prepared(both).x
            if not isinstance(x, Tensor) or not x.is_floating_point():
                raise ValueError("rows that are no tensor of numbers, such as texts, can't be mixed: leave mixval out")
            first, second = (take_rows(x, part) for part in torch.arange(len(x), device=x.device).chunk(2))
            mixed = both._replace(x=lam * first + (1 - lam) * second)
            half = mixed._replace(y=mixed.y[: len(a)], domain=mixed.domain[: len(a)], index=mixed.index[: len(a)])
            logits.append(method.encode_stream(half, "target").logits.float())
        return torch.cat(logits)

    return mix
