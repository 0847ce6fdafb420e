"""Data sets that are read as records: their classes are matched, their rows split and checked in one way."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from da.data.base import Domain, DomainData
from da.data.classes import SHOWN, LabelSets, class_numbers, distinct, listed, match_classes, natural
from da.data.leaks import Content, find_leaks
from da.data.records import Records, keep_trained, split_rows
from da.data.rows import Joined, Rows, Subset, TensorRows, Transform
from da.types import Role


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
            to, but not scored. "separate": each side has its own classes; rows of others than `classes` and
            `target_classes` are left out, and one domain may be both source and target if these have none in common.
        val_fraction: of the source's rows; 0: the source is validated on the rows that it trains on.
        test_fraction: of a domain's rows, where the data name no test rows.
        cache_features: train on the features of a frozen backbone, computed once and kept on disk.
        target_classes: names of the target's own classes, for separate label sets; None: all that it has.
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
        target_classes: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, **settings)
        self.sources = (source,) if isinstance(source, str) else tuple(source)
        self.target, self.given_classes, self.label_sets = target, classes, label_sets
        self.given_target_classes, self.own_classes = target_classes, label_sets == "separate"
        self._check_domains()
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
        self._target_classes: list[str] | None = None
        self._content: dict[tuple[Role, str], Content] = {}

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
            self._classes = distinct(self.given_classes, "data.classes") or self._matched_classes()
            if self._num_classes not in (None, len(self._classes)):
                raise ValueError(f"data.num_classes={self._num_classes}, but there are {len(self._classes)} classes")
        return tuple(self._classes)

    def classes_of(self, role: Role) -> tuple[str, ...]:
        if role == "source" or not self.own_classes:
            return self.class_names
        if self._target_classes is None:
            given = distinct(self.given_target_classes, "data.target_classes")
            self._target_classes = given or natural(self.labels(self.target) or ())
            if not self._target_classes:
                raise ValueError(f"the target {self.target!r} has no labels: give data.target_classes=[...]")
        return tuple(self._target_classes)

    def _check_domains(self) -> None:
        names = [*self.sources, self.target]
        repeated = {name for name in names if names.count(name) > 1}
        own, other = set(self.given_classes or ()), set(self.given_target_classes or ())
        if self.own_classes and self.sources.count(self.target) == 1 and repeated == {self.target}:
            if not own or not other or own & other:
                raise ValueError(
                    f"{self.target!r} is both source and target: data.classes and data.target_classes must say which "
                    "classes are whose, with none in common"
                )
        elif repeated:
            raise ValueError(f"data.source and data.target name {sorted(repeated)} more than once: nothing to adapt to")
        if other and not self.own_classes:
            raise ValueError(f"data.target_classes is for data.label_sets=separate, not {self.label_sets}")

    def _matched_classes(self) -> list[str]:
        source: set[str] = set()
        for name in self.sources:
            labels = self.labels(name)
            if labels is None:
                raise ValueError(f"the source {name!r} has no labels")
            source |= labels
        theirs = None if self.own_classes else self.labels(self.target)
        classes = match_classes(source, theirs, self.label_sets)
        numbered = ", ".join(f"{c} {name}" for c, name in enumerate(classes[:SHOWN]))
        rest = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
        self.notices.append(f"{len(classes)} classes: {numbered}{rest}")
        return classes

    @property
    def num_classes(self) -> int:
        return len(self.class_names) if self._num_classes is None else self._num_classes

    def num_classes_of(self, role: Role) -> int:
        return len(self.classes_of(role)) if self.own_classes else self.num_classes

    def facts(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}

    def state(self) -> dict[str, Any]:
        own = {"target_classes": list(self.classes_of("target"))} if self.own_classes else {}
        return {"classes": list(self.class_names), **own}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._classes = list(state["classes"])
        self._target_classes = state.get("target_classes")

    def read(self, role: Role) -> Domain:
        names = self.sources if role == "source" else (self.target,)
        parts = [self._domain(role, name) for name in names]
        if len(parts) == 1:
            return parts[0]
        return Domain(self.names()[role], *(Joined(rows) for rows in zip(*(part[1:] for part in parts), strict=True)))

    def _domain(self, role: Role, name: str) -> Domain:
        records = self.records(name)
        number = len(self.sources) if role == "target" else self.sources.index(name)
        y = self._numbers(role, name, records)
        train, evaluated = self._rows(name, records, y, number)
        split, notices = self.split(name, role)
        self.notices += [f"{name}: {notice}" for notice in notices]
        rows = {part: (split == part).nonzero()[0] for part in ("train", "val", "test")}
        content = (records.content[rows[part]] for part in ("train", "test"))
        self._content[role, name] = Content(name, role, *content)
        chosen = {part: torch.from_numpy(numbers) for part, numbers in rows.items()}
        adapted = Subset(evaluated, chosen["train"])
        val = Subset(evaluated, chosen["val"]) if len(chosen["val"]) else adapted
        test = Subset(evaluated, chosen["test"]) if len(chosen["test"]) else val
        return Domain(self.short_name(name), Subset(train, chosen["train"]), val, test)

    def split(self, name: str, role: Role) -> tuple[np.ndarray, list[str]]:
        """Return "train", "val" or "test" for every row of a domain, and what to tell the user of it.

        Rows of classes that are not its own are "out", where each domain has its own.
        """
        records, classes = self.records(name), self.classes_of(role)
        split = split_rows(records, 0.0 if role == "target" else self.val_fraction, self.test_fraction)
        labels = records.labels or [""] * len(split)
        y = class_numbers(labels, classes).numpy()
        out = np.array([self.own_classes and label not in ("", *classes) for label in labels])
        split[out] = "out"
        notices = [f"{out.sum()} rows of classes that are not among the {role}'s are left out"] if out.any() else []
        return split, notices + (keep_trained(split, y, classes) if role == "source" else [])

    def _numbers(self, role: Role, name: str, records: Records) -> Tensor:
        labels = records.labels if records.labels is not None else [""] * len(records.keys)
        classes = self.classes_of(role)
        unknown = set() if self.own_classes else set(labels) - {"", *classes}
        if unknown and (role == "source" or "open" not in self.label_sets):
            raise ValueError(f"{name!r} has the classes {listed(unknown)}, but those of data are {listed(classes)}")
        if role == "source" and "" in labels:
            raise ValueError(f"{list(labels).count('')} rows of the source {name!r} have no label: leave them out")
        if unknown:
            rows = sum(label in unknown for label in labels)
            self.notices.append(f"{name}: {rows} rows of classes that only it has are not scored: {listed(unknown)}")
        return class_numbers(labels, classes)

    def _rows(self, name: str, records: Records, y: Tensor, number: int) -> tuple[Rows, Rows]:
        """Return the rows as they are trained on, and as they are scored."""
        train_transform, eval_transform = self.transforms(name)
        evaluated = TensorRows(records.x, y, number, eval_transform)
        if self.encode is not None:
            cached = TensorRows(self.encode(evaluated, records.sha256), y, number)
            return cached, cached
        return TensorRows(records.x, y, number, train_transform), evaluated

    def load(self, streams: frozenset[str], evaluated: tuple[Role, ...] = ("source", "target")) -> None:
        super().load(streams, evaluated)
        for leak in find_leaks(self._content.values()):
            if leak not in self.notices:
                self.notices.append(leak)
