"""Data made of row numbers: a batch proves itself."""

import torch
from conftest import everything

from da.data.record_data import RecordData
from da.data.records import Records, content_hashes

SIZES = {"batch_size": {"source": 8, "target": 8, "labeled": 4, "oracle": 8}, "labels_per_class": 2}


def records(n, classes="ab", first=0, **known):
    """x is the row's number from `first` on: a batch proves itself, and equal numbers are equal content."""
    x = torch.arange(first, first + n)
    content, sha256 = content_hashes([x.numpy()])
    labels = None if classes is None else [classes[i % len(classes)] for i in range(n)]
    return Records(x, labels, [f"row {i}" for i in x.tolist()], content, sha256, **known)


class Plain(RecordData):
    def __init__(self, domains, source="one", target="two", **settings):
        super().__init__(source=source, target=target, **SIZES | settings)
        self.domains, self.opened = domains, []

    def read_records(self, name):
        self.opened.append(name)
        return self.domains[name]


def two(n=40, m=60, **settings):
    return Plain({"one": records(n), "two": records(m, first=1000)}, **settings)


def numbers(rows):
    return set(everything(rows).x.tolist())
