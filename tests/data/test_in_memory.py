"""Rows in memory: who is source, who is target, and what is hidden."""

import torch

from da.data.in_memory import InMemory
from da.types import HIDDEN

SIZES = {"source": 4, "target": 4}


def data(domain, **settings):
    domain = torch.tensor(domain)
    x = torch.arange(len(domain)).float()[:, None]
    return InMemory(x, torch.arange(len(domain)) % 2, domain, num_classes=2, batch_size=SIZES, **settings)


def test_the_sign_of_the_domain_tells_source_from_target_and_target_labels_are_gone():
    rows = data([1, -2, 1, -2, 1, 1, -2, -2])
    source, target = (rows.domain(role).train for role in ("source", "target"))
    assert source.x.flatten().tolist() == [0, 2, 4, 5]
    assert source.y.tolist() == [0, 0, 0, 1]
    assert target.x.flatten().tolist() == [1, 3, 6, 7]
    assert (target.y == HIDDEN).all()


def test_a_batch_holds_equally_many_rows_of_every_domain():
    rows = data([1] * 4 + [2] * 12 + [-1] * 6 + [-2] * 4, seed=0)
    rows.load(frozenset({"source", "target"}))
    for batch, _, _ in rows.train_dataloader():
        for stream, numbers in (("source", (1, 2)), ("target", (-1, -2))):
            assert [int((batch[stream].domain == number).sum()) for number in numbers] == [2, 2]


def test_without_a_target_the_source_takes_its_place():
    rows = data([1, 1, 1, 1])
    assert rows.names() == {"source": "source", "target": "source"}
    assert torch.equal(rows.domain("target").train.x, rows.domain("source").train.x)
