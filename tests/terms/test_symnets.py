"""SymNets: naive losses, and who receives which of them."""

import math

import pytest
import torch
from conftest import make_step
from torch.testing import assert_close

from da.schedules import Constant
from da.terms.symnets import SymNets

C = 3


def make(strength=0.4):
    torch.manual_seed(0)
    return SymNets(5, C, Constant(strength)).double()


def naive(term, step):
    """E_task^s + E_domain of the heads; F_category, F_domain and the entropy of the features: a row at a time."""
    source_head, target_head = term.source_head, step.net.head
    task = domain = category = confusion = entropy = 0.0
    n, m = len(step.source.z), len(step.target.z)
    for z, y in zip(step.source.z, step.source.y.tolist(), strict=True):
        p = torch.cat([source_head(z), target_head(z)]).softmax(0)
        task -= source_head(z).softmax(0)[y].log() / n
        domain -= sum(p[k] for k in range(C)).log() / n
        category -= (p[y].log() + p[y + C].log()) / (2 * n)
    for z in step.target.z:
        p = torch.cat([source_head(z), target_head(z)]).softmax(0)
        source, target = sum(p[k] for k in range(C)), sum(p[k + C] for k in range(C))
        domain -= target.log() / m
        confusion -= (source.log() + target.log()) / (2 * m)
        entropy -= sum((p[k] + p[k + C]) * (p[k] + p[k + C]).log() for k in range(C)) / m
    return task + domain, category, confusion + entropy


def test_the_value_is_the_sum_of_both_players_losses():
    term, step = make(), make_step()
    heads, category, rest = naive(term, step)
    assert_close(term(step), heads + category + 0.4 * rest)


def test_heads_and_features_learn_their_own_losses_alone():
    term, step = make(), make_step()
    z = [step.source.z.requires_grad_(), step.target.z.requires_grad_()]
    parameters = [*term.source_head.parameters(), *step.net.head.parameters()]
    found = torch.autograd.grad(term(step), [*z, *parameters])
    heads, category, rest = naive(term, step)
    assert_close(found[:2], torch.autograd.grad(category + 0.4 * rest, z, retain_graph=True))
    assert_close(found[2:], torch.autograd.grad(heads, parameters))
    assert all(g.abs().max() > 1e-6 for g in found)


def test_without_strength_the_features_still_learn_the_category_confusion():
    term, step = make(0.0), make_step()
    z = step.source.z.requires_grad_()
    (found,) = torch.autograd.grad(term(step), [z])
    (expected,) = torch.autograd.grad(naive(term, step)[1], [z])
    assert_close(found, expected)


def test_heads_that_know_nothing_have_the_losses_of_uniform_guesses():
    term, step = make(1.0), make_step()
    for head in (term.source_head, step.net.head):
        for parameter in head.parameters():
            torch.nn.init.zeros_(parameter)
    expected = math.log(C) + 2 * math.log(2) + math.log(2 * C) + math.log(2) + math.log(C)
    assert_close(term(step), torch.tensor(expected).double())
    assert_close(term.measures["accuracy"], torch.tensor(0.5).double())


def test_accuracy_is_that_of_the_more_likely_half():
    term, step = make(), make_step()
    with torch.no_grad():
        for head, bias in ((term.source_head, 9.0), (step.net.head, 0.0)):  # the source's half always wins
            head.weight.zero_(), head.bias.fill_(bias)
        term.source_head.weight[:, 0] = 100.0  # and where the first feature is below -0.09 it loses
    told_s = (step.source.z[:, 0] > -0.09).double().mean()
    told_t = (step.target.z[:, 0] <= -0.09).double().mean()
    term(step)
    assert_close(term.measures["accuracy"], (told_s + told_t) / 2)


def test_a_step_without_a_network_is_refused():
    with pytest.raises(ValueError, match="step.net is None"):
        make()(make_step()._replace(net=None))
