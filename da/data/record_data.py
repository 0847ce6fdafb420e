"""Data sets that are read as records: their classes are matched, their rows split and checked in one way."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from da.data.base import Domain, DomainData
from da.data.classes import SHOWN, LabelSets, class_numbers, listed, match_classes
from da.data.records import Records, keep_trained, split_rows
from da.data.rows import Joined, Rows, Subset, TensorRows, Transform
from da.data.streams import Role


class Encode(Protocol):
    """Features [N, d] of all rows, by a frozen backbone."""

    def __call__(self, rows: TensorRows, sha256: str) -> Tensor: ...


class RecordData(DomainData):
    """Domains that are read as `Records`: a subclass says how one is read, and all else is done here.

    Of a source domain, `val_fraction` of the rows are held out. A target is adapted to without labels and scored on
    its test rows: those that the data name, or `test_fraction` of them; if there are neither, on the rows that it is
    adapted to (the transductive protocol of the field's image benchmarks). The target's val rows are its train rows.
    Rows are held out by a hash of their key (or of their group): a row stays where it is when others come or go.

    Args:
        source: a domain, or several: they make one stream, with equally many rows of each in a batch.
        target: the domain to adapt to.
        classes: names of the classes in the order of the logits; None: those of the source, in natural order.
        label_sets: whether a side may have classes of its own. Rows of classes that only the target has are adapted
            to, but not scored.
        val_fraction: of the source's rows; 0: the source is validated on the rows that it trains on.
        test_fraction: of a domain's rows, where the data name no test rows.
        cache_features: train on the features of a frozen backbone, computed once and kept on disk.
        settings: of `DomainData`.

    Raises ValueError for one domain in two roles, for classes that don't match and for data that are no good.
    """

    train_transform: Transform | None = None
    eval_transform: Transform | None = None

    def __init__(
        self,
        source: str | Sequence[str],
        target: str,
        num_classes: int | None = None,
        classes: Sequence[str] | None = None,
        label_sets: LabelSets = "closed",
        val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        cache_features: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, **settings)
        self.sources = (source,) if isinstance(source, str) else tuple(source)
        self.target, self.given_classes, self.label_sets = target, classes, label_sets
        if repeated := {name for name in (*self.sources, target) if (*self.sources, target).count(name) > 1}:
            raise ValueError(f"data.source and data.target name {sorted(repeated)} more than once: nothing to adapt to")
        if not self.sources:
            raise ValueError("data.source names no domain")
        for option, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 <= value < 1:
                raise ValueError(f"data.{option}={value} must be at least 0 and less than 1")
        self.val_fraction, self.test_fraction = val_fraction, test_fraction
        self.cache_features = cache_features
        self.encode: Encode | None = None
        """Set before the rows are read: they are then the features that it gives."""
        self._records: dict[str, Records] = {}
        self._classes: list[str] | None = None
        self._content: dict[str, tuple[Role, np.ndarray, np.ndarray]] = {}  # of train and test rows, by domain

    @abstractmethod
    def read_records(self, name: str) -> Records:
        """Read the domain of this name."""

    def labels(self, name: str) -> set[str] | None:
        """Return the classes that a domain has, None if it has no labels. Override where they are known without it."""
        labels = self.records(name).labels
        return None if labels is None else set(labels) - {""}

    def transforms(self, name: str) -> tuple[Transform | None, Transform | None]:
        """Return what becomes of a domain's rows when they are trained on, and when they are scored."""
        return self.train_transform, self.eval_transform

    def short_name(self, name: str) -> str:
        """Return what a domain is called in results and tables."""
        return name

    def records(self, name: str) -> Records:
        """Return the records of a domain, read at the first call."""
        if name not in self._records:
            records = self._records[name] = self.read_records(name)
            self.notices += [f"{self.short_name(name)}: {notice}" for notice in records.notices]
        return self._records[name]

    def names(self) -> dict[Role, str]:
        return {"source": "+".join(map(self.short_name, self.sources)), "target": self.short_name(self.target)}

    def hashes(self) -> dict[str, str]:
        return {self.short_name(name): records.sha256 for name, records in self._records.items()}

    @property
    def class_names(self) -> tuple[str, ...]:
        if self._classes is None:
            self._classes = self._given_classes() or self._matched_classes()
            if self._num_classes not in (None, len(self._classes)):
                raise ValueError(f"data.num_classes={self._num_classes}, but there are {len(self._classes)} classes")
        return tuple(self._classes)

    def _given_classes(self) -> list[str]:
        classes = list(self.given_classes or ())
        if repeated := {name for name in classes if classes.count(name) > 1}:
            raise ValueError(f"data.classes names {listed(repeated)} more than once")
        return classes

    def _matched_classes(self) -> list[str]:
        source: set[str] = set()
        for name in self.sources:
            labels = self.labels(name)
            if labels is None:
                raise ValueError(f"the source {name!r} has no labels")
            source |= labels
        classes = match_classes(source, self.labels(self.target), self.label_sets)
        numbered = ", ".join(f"{c} {name}" for c, name in enumerate(classes[:SHOWN]))
        rest = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
        self.notices.append(f"{len(classes)} classes: {numbered}{rest}")
        return classes

    @property
    def num_classes(self) -> int:
        return len(self.class_names) if self._num_classes is None else self._num_classes

    def facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}

    def state(self) -> dict[str, Any]:
        return {"classes": list(self.class_names)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._classes = list(state["classes"])

    def read(self, role: Role) -> Domain:
        names = self.sources if role == "source" else (self.target,)
        parts = [self._domain(role, name) for name in names]
        if len(parts) == 1:
            return parts[0]
        return Domain(self.names()[role], *(Joined(rows) for rows in zip(*(part[1:] for part in parts), strict=True)))

    def _domain(self, role: Role, name: str) -> Domain:
        records = self.records(name)
        number = (*self.sources, self.target).index(name)
        y = self._numbers(role, name, records)
        train, evaluated = self._rows(name, records, y, number)
        split, notices = self.split(name)
        self.notices += [f"{name}: {notice}" for notice in notices]
        rows = {part: (split == part).nonzero()[0] for part in ("train", "val", "test")}
        self._note_content(role, name, records.content, rows)
        chosen = {part: torch.from_numpy(numbers) for part, numbers in rows.items()}
        adapted = Subset(evaluated, chosen["train"])
        val = Subset(evaluated, chosen["val"]) if len(chosen["val"]) else adapted
        test = Subset(evaluated, chosen["test"]) if len(chosen["test"]) else val
        return Domain(self.short_name(name), Subset(train, chosen["train"]), val, test)

    def split(self, name: str) -> tuple[np.ndarray, list[str]]:
        """Return "train", "val" or "test" for every row of a domain, and what to tell the user of it."""
        records = self.records(name)
        if name == self.target:
            return split_rows(records, 0.0, self.test_fraction), []
        split = split_rows(records, self.val_fraction, self.test_fraction)
        y = class_numbers(records.labels or [""] * len(split), self.class_names)
        return split, keep_trained(split, y.numpy(), self.class_names)

    def _numbers(self, role: Role, name: str, records: Records) -> Tensor:
        labels = records.labels if records.labels is not None else [""] * len(records.keys)
        unknown = set(labels) - {"", *self.class_names}
        if unknown and (role == "source" or "open" not in self.label_sets):
            raise ValueError(
                f"{name!r} has the classes {listed(unknown)}, but those of data are {listed(self.class_names)}"
            )
        if role == "source" and "" in labels:
            raise ValueError(f"{list(labels).count('')} rows of the source {name!r} have no label: leave them out")
        if unknown:
            rows = sum(label in unknown for label in labels)
            self.notices.append(f"{name}: {rows} rows of classes that only it has are not scored: {listed(unknown)}")
        return class_numbers(labels, self.class_names)

    def _rows(self, name: str, records: Records, y: Tensor, number: int) -> tuple[Rows, Rows]:
        """Return the rows as they are trained on, and as they are scored."""
        train_transform, eval_transform = self.transforms(name)
        evaluated = TensorRows(records.x, y, number, eval_transform)
        if self.encode is not None:
            cached = TensorRows(self.encode(evaluated, records.sha256), y, number)
            return cached, cached
        return TensorRows(records.x, y, number, train_transform), evaluated

    def _note_content(self, role: Role, name: str, content: np.ndarray, rows: dict[str, np.ndarray]) -> None:
        test = content[rows["test"]] if len(rows["test"]) else content[:0]
        self._content[name] = role, content[rows["train"]], test

    def load(self, streams: frozenset[str], evaluated: tuple[Role, ...] = ("source", "target")) -> None:
        super().load(streams, evaluated)
        for leak in self._leaks():
            if leak not in self.notices:
                self.notices.append(leak)

    def _leaks(self) -> list[str]:
        """Rows that were trained on and are scored too, or that are in both domains; of the domains opened so far."""
        found = []
        for name, (role, train, test) in self._content.items():
            if same := int(np.isin(test, train).sum()):
                found.append(f"leak: {same} of the {len(test)} test rows of {name} are among its training rows too")
            if role == "source" and self.target in self._content:
                _, adapted, tested = self._content[self.target]
                if len(adapted) and np.isin(adapted, train).all():
                    raise ValueError(
                        f"every row of the target {self.target!r} is a training row of the source {name!r}"
                    )
                scored = tested if len(tested) else adapted
                if same := int(np.isin(scored, train).sum()):
                    found.append(
                        f"leak: {same} of the {len(scored)} rows that the target {self.target} is scored on are "
                        f"training rows of the source {name} too"
                    )
        return found
