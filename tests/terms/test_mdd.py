"""MDD: naive formula, the theory's optimum, and who receives what."""

import math

import pytest
import torch
from conftest import make_step, normal
from torch.testing import assert_close

from da.schedules import Constant
from da.terms.mdd import Mdd, log_other


def make(gamma=4.0, strength=0.1):
    torch.manual_seed(0)
    return Mdd(5, 3, gamma, (8,), 0.0, Constant(strength)).double()


def disparity(term, step):
    """D_gamma, a row at a time: mean_t log(1 - s_h(f'(z))) - gamma mean_s [-log s_h(f'(z))]."""
    total = 0.0
    for name in ("source", "target"):
        rows = step.streams[name]
        for z, logits in zip(rows.z, rows.logits, strict=True):
            s = term.auxiliary_head(z[None])[0].softmax(0)[logits.argmax()]
            total += (term.gamma * s.log() if name == "source" else (1 - s).log()) / len(rows.z)
    return total


def test_the_value_is_minus_the_papers_disparity():
    term, step = make(), make_step()
    assert_close(term(step), -disparity(term, step))


def test_the_auxiliary_head_maximises_the_disparity_that_the_features_minimise():
    term, step = make(strength=0.1), make_step()
    z, parameters = [step.source.z.requires_grad_(), step.target.z.requires_grad_()], list(term.parameters())
    found = torch.autograd.grad(term(step), [*z, *parameters])
    plain = torch.autograd.grad(disparity(term, step), [*z, *parameters])
    assert_close(found[:2], tuple(0.1 * g for g in plain[:2]))
    assert_close(found[2:], tuple(-g for g in plain[2:]))
    assert all(g.abs().max() > 1e-6 for g in found)


def test_nothing_reaches_the_head_whose_class_is_compared():
    term, step = make(), make_step()
    step.target.logits.requires_grad_()
    (gradient,) = torch.autograd.grad(term(step), [step.target.logits], allow_unused=True)
    assert gradient is None


@pytest.mark.parametrize("gamma", [1.0, 4.0])
def test_between_equal_domains_the_best_auxiliary_head_agrees_with_probability_gamma_over_one_plus_gamma(gamma):
    term, step = make(gamma), make_step()
    s = gamma / (1 + gamma)
    step = step._replace(streams={"source": step.source, "target": step.source})
    rows = [
        rows._replace(logits=torch.tensor([1.0, 0.0, 0.0]).double().expand(12, 3)) for rows in step.streams.values()
    ]
    head = term.auxiliary_head[-1]
    with torch.no_grad():  # the same answer for every row: s for class 0, the rest shared
        head.weight.zero_(), head.bias.copy_(torch.tensor([s, (1 - s) / 2, (1 - s) / 2]).log())
    value = term(step._replace(streams=dict(zip(step.streams, rows, strict=True))))
    (gradient,) = torch.autograd.grad(value, [head.bias])
    assert_close(gradient, torch.zeros_like(gradient))
    assert_close(value, torch.tensor(-gamma * math.log(s) - math.log(1 - s)).double())
    assert_close(list(term.measures.values()), [torch.tensor(s).double()] * 2)


def test_log_other_is_the_log_of_the_other_classes_share():
    logits, classes = normal(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(1)
    expected = torch.stack([torch.log(1 - p[i, c]) for i, c in enumerate(classes.tolist())])
    assert_close(log_other(logits, classes), expected)
    assert torch.autograd.gradcheck(lambda x: log_other(x, classes), (logits.requires_grad_(),))


def test_log_other_of_a_certain_answer_is_exact_and_has_a_gradient_in_float32():
    logits = torch.tensor([[2e4, 0.0, 0.0], [0.0, 0.0, 2e4]], requires_grad=True)
    value = log_other(logits, torch.tensor([0, 0]))
    assert_close(value, torch.tensor([math.log(2) - 2e4, 0.0]))
    value.sum().backward()
    assert_close(logits.grad, torch.tensor([[-1.0, 0.5, 0.5], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("options", "message"), [({"num_classes": 1}, "num_classes must be 2 or more"), ({"gamma": 0.0}, "gamma must be")]
)
def test_what_has_no_margin_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Mdd(**{"feature_dim": 5, "num_classes": 3, **options})
