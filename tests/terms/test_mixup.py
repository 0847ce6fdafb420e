"""Mixup against its definition in loops."""

import math

import numpy as np
import pytest
import torch
from conftest import make_step
from torch import nn
from torch.testing import assert_close

from da.discrepancies.base import Draws
from da.terms.mixup import Mixup


def draw(n, alpha):
    """What the term draws first, from the same generator."""
    generator = Draws(0).generator()
    share = float(np.random.default_rng(generator.initial_seed()).beta(alpha, alpha))
    return share, torch.randperm(n, generator=generator).tolist()


@pytest.mark.parametrize("stream", ["source", "target"])
def test_mixup_equals_the_papers_definition_in_loops(stream):
    step = make_step()
    x, rows = step.batch[stream].x, step.streams[stream]
    n, total = len(x), 0.0
    share, order = draw(n, 0.7)
    for i, j in enumerate(order):
        if stream == "source":
            y = [[float(k == int(rows.y[row])) for k in range(3)] for row in (i, j)]
        else:
            y = [step.net(x[row][None])[1][0].softmax(0).tolist() for row in (i, j)]
        mixed = share * x[i] + (1 - share) * x[j]
        log_p = step.net(mixed[None])[1][0].log_softmax(0).detach()
        total -= sum((share * y[0][k] + (1 - share) * y[1][k]) * float(log_p[k]) for k in range(3))
    assert 0.01 < share < 0.99
    assert_close(Mixup(0.7, stream)(step), torch.tensor(total / n).double())


def test_every_mixture_costs_log_c_for_a_network_that_always_says_uniform():
    step = make_step()
    for parameter in step.net.head.parameters():
        nn.init.zeros_(parameter)
    assert_close(Mixup()(step), torch.tensor(math.log(3)).double())


def test_the_shares_follow_the_beta_distribution():
    term = Mixup(alpha=2.0)
    shares = torch.tensor([term._draw(2)[0] for _ in range(4000)])
    assert abs(float(shares.mean()) - 0.5) < 0.015  # 4 standard errors: sd = 1 / sqrt(20)
    assert abs(float(shares.var()) - 0.05) < 0.004


def test_the_predictions_that_stand_for_labels_are_constant():
    step = make_step()
    step.target.logits.requires_grad_()
    Mixup()(step).backward()
    assert step.target.logits.grad is None
    assert step.net.head.weight.grad.abs().sum() > 0


def test_running_statistics_are_left_alone():
    step = make_step()
    step.net.bottleneck = nn.BatchNorm1d(5).double()
    before = {name: value.clone() for name, value in step.net.state_dict().items()}
    Mixup()(step)
    assert_close(step.net.state_dict(), before, rtol=0, atol=0)


def test_inputs_that_cannot_be_mixed_are_refused():
    step = make_step()
    tokens = step._replace(batch={"target": step.batch["target"]._replace(x=torch.arange(9).view(9, 1))})
    with pytest.raises(ValueError, match="Mixup changes the input of 'target'.*got a tensor of torch.int64"):
        Mixup()(tokens)


def test_alpha_zero_is_refused():
    with pytest.raises(ValueError, match="alpha must be positive, got 0"):
        Mixup(alpha=0.0)


def test_draws_repeat_after_a_resume():
    step, term = make_step(), Mixup()
    assert term(step) != term(step)
    again = Mixup()
    again.load_state_dict(term.state_dict())
    assert again(step) == term(step)


def test_the_step_needs_no_second_domain():
    step = make_step()
    only = step._replace(streams={"target": step.target}, batch={"target": step.batch["target"]})
    assert_close(Mixup()(only), Mixup()(step))
