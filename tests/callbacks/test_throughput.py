"""Rows a second: of all streams and processes, without validation."""

import torch

from da.callbacks import throughput
from da.callbacks.throughput import Throughput
from da.types import Samples


def test_it_counts_rows_of_all_streams_and_processes_between_batches_of_an_epoch(monkeypatch):
    clock = iter([0.0, 1.0, 3.0, 100.0, 102.0])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(throughput, "world_size", lambda: 2)
    rows = torch.zeros(5)
    batch = {name: Samples(rows, rows, rows, rows) for name in ("source", "target")}
    counter = Throughput()
    counter.on_train_epoch_start(None, None)
    assert counter.samples_per_second is None
    for i in range(3):
        counter.on_train_batch_end(None, None, None, batch, i)
    counter.on_validation_start(None, None)
    for i in range(2):
        counter.on_train_batch_end(None, None, None, batch, i)
    assert counter.samples_per_second == 2 * 10 * 3 / (1 + 2 + 2)
