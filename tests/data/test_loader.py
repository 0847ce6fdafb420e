"""Batches are the same, whoever reads them."""

import pytest
import torch
from conftest import config
from torch.utils.data import DataLoader

from da.assemble import assemble
from da.data.loader import DrawLoader

WORDS = ("data=digits_demo", "method=source_only", "data.steps_per_epoch=3")


def batches(loaders, read=iter):
    return [batch for loader in loaders for batch in read(loader)]


@pytest.mark.parametrize("workers", [0, 2])
def test_they_are_those_of_pytorchs_loader(workers):
    data, _ = assemble(config(*WORDS, f"data.num_workers={workers}"))
    data.load(frozenset({"source", "target"}))
    loaders = [*data.train_dataloader().flattened, *data.val_dataloader()]
    assert all(isinstance(loader, DrawLoader) for loader in loaders)
    own, theirs = batches(loaders), batches(loaders, DataLoader.__iter__)
    assert len(own) == len(theirs) == sum(map(len, loaders))
    for one, other in zip(own, theirs, strict=True):
        assert type(one) is type(other)
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_only_workers_and_pinned_memory_take_pytorchs_way(monkeypatch):
    taken = []
    monkeypatch.setattr(DataLoader, "__iter__", lambda loader: taken.append(loader) or iter(()))
    rows = [0, 1, 2]
    for options in ({}, {"num_workers": 1}, {"pin_memory": True}):
        list(DrawLoader(rows, batch_size=None, **options))
    assert [(loader.num_workers, loader.pin_memory) for loader in taken] == [(1, False), (0, True)]
    assert list(DrawLoader(rows, sampler=[2, 0], batch_size=None)) == [2, 0]
