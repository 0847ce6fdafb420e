"""Domain confusion: naive losses, and who receives which of them."""

import math

import pytest
import torch
from conftest import make_step, normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.models.mlp import Mlp
from da.schedules import Constant
from da.terms.base import Objective
from da.terms.domain_confusion import DomainConfusion, through_constant, uniform_cross_entropy


def make(strength=0.3):
    torch.manual_seed(0)
    return DomainConfusion(5, (8,), 0.0, Constant(strength)).double()


def naive(term, step):
    """L_D and L_conf, a row and a domain at a time."""
    told, confused = 0.0, 0.0
    for name, domain in (("source", 0), ("target", 1)):
        rows = step.streams[name].z
        for z in rows:
            score = term.discriminator(z[None])[0, 0]
            q = torch.stack([torch.sigmoid(score), torch.sigmoid(-score)])
            told -= q[domain].log() / len(rows) / 2
            confused -= sum(q[d].log() / 2 for d in range(2)) / len(rows) / 2
    return told, confused


def test_the_value_is_both_losses_of_the_paper():
    term, step = make(), make_step()
    told, confused = naive(term, step)
    assert_close(term(step), told + 0.3 * confused)
    assert_close(term.measures["confusion"], confused.detach())


def test_the_classifier_learns_l_d_alone_and_the_features_l_conf_alone():
    term, step = make(), make_step()
    z = [step.source.z.requires_grad_(), step.target.z.requires_grad_()]
    parameters = list(term.parameters())
    found = torch.autograd.grad(term(step), [*z, *parameters])
    told, confused = naive(term, step)
    assert_close(found[:2], tuple(0.3 * g for g in torch.autograd.grad(confused, z, retain_graph=True)))
    assert_close(found[2:], torch.autograd.grad(told, parameters))
    assert all(g.abs().max() > 1e-6 for g in found)


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_the_strength_is_not_multiplied_into_the_classifiers_learning(weight):
    found = []
    for strength in (0.0, 1.0, 0.5):
        term, step = make(strength), make_step()
        total = Objective({"it": term}, {"it": Constant(weight)})(step).total
        found.append(torch.autograd.grad(total, list(term.parameters())))
    assert_close(found[0], found[1])
    assert_close(found[2], found[1])


def test_both_losses_are_log_2_and_the_features_rest_where_the_classifier_cannot_tell():
    term, step = make(1.0), make_step()
    for parameter in term.discriminator[-1].parameters():
        torch.nn.init.zeros_(parameter)
    step.source.z.requires_grad_()
    value = term(step)
    assert_close(value, torch.tensor(2 * math.log(2)).double())
    assert_close(term.measures["accuracy"], torch.tensor(0.5).double())
    (gradient,) = torch.autograd.grad(value, [step.source.z])
    assert_close(gradient, torch.zeros_like(gradient))


def test_a_step_down_the_confusion_brings_the_answers_to_one_half():
    term, step = make(1.0), make_step()
    z = step.source.z.requires_grad_()
    (gradient,) = torch.autograd.grad(term(step), [z])
    distance = [(term.discriminator(x).sigmoid() - 0.5).square().sum() for x in (z, z - 0.5 * gradient)]
    assert distance[1] < distance[0]


def test_uniform_cross_entropy_of_certain_answers():
    assert_close(uniform_cross_entropy(torch.tensor([1e4, -1e4])), torch.tensor(5e3))


def test_through_a_constant_module_the_gradient_reaches_the_input_only():
    module, x = Mlp(3, [4, 2]).double(), normal(5, 3).requires_grad_()
    assert_close(through_constant(module, x), module(x))
    F.softplus(through_constant(module, x)).sum().backward()
    assert x.grad.abs().max() > 1e-6
    assert all(p.grad is None for p in module.parameters())
