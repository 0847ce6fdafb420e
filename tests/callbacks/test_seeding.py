"""Seeding before each batch: the numbers of `torch.manual_seed`, without what that does on the side."""

import torch

from da.callbacks.seeding import seed_generators


def test_seeding_draws_what_torch_would_draw_and_queues_nothing_for_devices_that_are_not_used():
    queued = len(torch.cuda._queued_calls)
    seed_generators(5, torch.device("cpu"))
    drawn = torch.rand(4)
    assert len(torch.cuda._queued_calls) == queued
    torch.manual_seed(5)
    assert torch.equal(torch.rand(4), drawn)
    seed_generators(6, torch.device("cpu"))
    assert not torch.equal(torch.rand(4), drawn)
