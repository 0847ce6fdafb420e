"""What every term must satisfy: each is found in conf/term and conf/method."""

import copy
import inspect
import pickle
import re

import pytest
import torch
from conftest import make_step, normal
from found import begin, make_term, term_nodes
from processes import on_processes
from torch.testing import assert_close

from da.terms.base import Objective, Term
from da.types import Encoded, Step

NODES = term_nodes()


def make(name, step=None) -> Term:
    torch.manual_seed(0)
    step = step or make_step()
    return make_term(copy.deepcopy(NODES[name]), step.net).to(step.source.z.dtype)


@pytest.fixture(params=sorted(NODES))
def term(request) -> Term:
    return make(request.param)


def leaves(step: Step) -> dict[str, list[torch.Tensor]]:
    """What a term may send a gradient to, by stream."""
    return {
        name: [rows.z, rows.logits, *rows.layers.values(), step.batch[name].x] for name, rows in step.streams.items()
    }


def requiring_grad(step: Step) -> Step:
    for tensors in leaves(step).values():
        for tensor in tensors:
            tensor.requires_grad_()
    return step


def mapped(step: Step, function) -> Step:
    """The step with `function` applied to every row-wise tensor."""

    def rows(r: Encoded) -> Encoded:
        return Encoded(*(function(c) for c in r[:5]), {name: function(y) for name, y in r.layers.items()})

    streams = {name: rows(r) for name, r in step.streams.items()}
    batch = {name: type(s)(*(function(c) for c in s)) for name, s in step.batch.items()}
    return step._replace(streams=streams, batch=batch)


def gradients(step: Step) -> list[torch.Tensor]:
    return [x.grad for tensors in leaves(step).values() for x in tensors if x.grad is not None]


def test_is_a_finite_scalar_for_unequal_n_and_m(term):
    value = term(make_step(n=12, m=9))
    assert value.shape == ()
    assert value.isfinite()


def test_gradient_reaches_exactly_the_streams_it_names(term):
    step = requiring_grad(make_step())
    begin(term, step.net)
    term(step).backward()
    reached = {
        name
        for name, tensors in leaves(step).items()
        if any(x.grad is not None and x.grad.abs().sum() > 0 for x in tensors)
    }
    if term.acts_on_features:
        assert reached <= set(term.streams)
        assert reached >= set(term.streams) - set(term.constant_streams)
    else:
        assert not reached


def documented(term):
    """What the term, and the discrepancy in it, say of themselves."""
    inner = [module for module in term.modules() if type(module).__module__.startswith("da.")]
    things = [thing for module in [term, *inner] for thing in (type(module), inspect.getmodule(type(module)))]
    functions = [
        f for thing in things if inspect.ismodule(thing) for _, f in inspect.getmembers(thing, inspect.isfunction)
    ]
    return " ".join(inspect.getdoc(thing) or "" for thing in [*things, *functions])


def test_gradient_is_that_of_the_value_or_it_is_said_what_is_constant_or_reversed(term):
    """The derivative in a random direction, beside central differences."""
    start, step = copy.deepcopy(term), requiring_grad(make_step())
    term(step).backward()
    flat = [x for tensors in leaves(step).values() for x in tensors]
    directions = [normal(*x.shape, seed=500 + i) for i, x in enumerate(flat)]
    derivative = sum((x.grad * d).sum() for x, d in zip(flat, directions, strict=True) if x.grad is not None)
    values = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            for x, d in zip(flat, directions, strict=True):
                x.add_(sign * 1e-6 * d)
        values.append(copy.deepcopy(start)(step).detach())
        with torch.no_grad():
            for x, d in zip(flat, directions, strict=True):
                x.sub_(sign * 1e-6 * d)
    difference = (values[0] - values[1]) / 2e-6
    if not torch.isclose(torch.as_tensor(derivative, dtype=torch.float64), difference, rtol=1e-4, atol=1e-8):
        assert re.search("constant|revers", documented(term)), (float(derivative), float(difference))


def test_gives_the_same_when_rows_change_places(term):
    step = make_step()
    if getattr(getattr(term, "discrepancy", None), "order_invariant", term.order_invariant):
        again = copy.deepcopy(term)
        assert_close(again(mapped(step, lambda x: x.flip(0))), term(step))


def test_never_reads_a_hidden_label(term):
    step = make_step()
    again = copy.deepcopy(term)
    lied_to = {
        name: rows._replace(y=torch.zeros_like(rows.y)) if (rows.y < 0).all() else rows
        for name, rows in step.streams.items()
    }
    batch = {name: samples._replace(y=lied_to.get(name, samples).y) for name, samples in step.batch.items()}
    assert_close(again(step._replace(streams=lied_to, batch=batch)), term(step), rtol=0, atol=0)


def test_survives_pickling_and_state_dict(term):
    step = make_step()
    term(step)  # so that there is something to remember
    again = pickle.loads(pickle.dumps(term))
    again.load_state_dict(term.state_dict())
    assert_close(again(step), term(step), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_stays_finite_at_tiny_and_huge_scales(request, term, scale):
    step = make_step(dtype=torch.float32)
    term = make(request.node.callspec.params["term"], step)
    step = requiring_grad(mapped(step, lambda x: x * scale if x.is_floating_point() else x))
    value = term(step)
    value.backward()
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(step))


def test_stays_finite_when_all_rows_are_equal(request, term):
    step = make_step(dtype=torch.float32)
    term = make(request.node.callspec.params["term"], step)
    step = requiring_grad(mapped(step, lambda x: torch.ones_like(x) if x.is_floating_point() else x))
    value = term(step)
    value.backward()
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(step))


def test_two_rows_a_domain_and_a_missing_class_will_do(request, term):
    step = make_step(n=2, m=2, dtype=torch.float32)  # three classes, so one is in no row
    term = make(request.node.callspec.params["term"], step)
    step = requiring_grad(step)
    value = term(step)
    value.backward()
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(step))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_equals_full_precision_on_the_same_numbers(request, term, dtype):
    step = mapped(make_step(dtype=torch.float32), lambda x: x.to(dtype).float() if x.is_floating_point() else x)
    name = request.node.callspec.params["term"]
    expected = Objective({"term": make(name, step)})(step).total
    with torch.autocast("cpu", dtype):
        losses = Objective({"term": make(name, step)})(step)
    assert losses.total.dtype == torch.float32
    assert_close(losses.total, expected)


# Every discrepancy is compiled by tests/discrepancies; here, one of them as a term.
COMPILED = sorted(name for name in NODES if not name.startswith("align-") or name == "align-mmd")


def compiled(rank, world):
    """Values and gradients as they are, and compiled, in a process where nothing checks the shapes."""
    found = {}
    for name in COMPILED:
        results = []
        for backend in (None, "aot_eager"):
            step = requiring_grad(make_step())
            term = make(name, step)
            try:
                value = (torch.compile(term, backend=backend) if backend else term)(step)
                value.backward()
                results.append([value.detach(), *gradients(step)])
            except Exception as error:
                results.append(repr(error))
        found[name] = results
        torch.compiler.reset()
    return found


@pytest.fixture(scope="module")
def results():
    return on_processes(1, compiled, fresh=True)[0]


@pytest.mark.parametrize("name", COMPILED)
def test_can_be_compiled(results, name):
    eager, traced = results[name]
    assert not isinstance(traced, str), traced
    assert_close(traced, eager)
