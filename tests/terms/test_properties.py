"""What every term of every method must satisfy: each is found in conf/method."""

import copy
import pickle

import pytest
import torch
from conftest import TOY, config, make_step, options
from omegaconf import OmegaConf
from torch.testing import assert_close

from da.build import build
from da.terms.base import Term


def discover():
    """Every term of every method, under the discrepancy it comes with and, for `align`, under all of them."""
    found = {}
    for method in options("method"):
        variants = [f"discrepancy={name}" for name in options("discrepancy")] if method == "align" else [None]
        for variant in variants:
            cfg = config(*TOY, f"method={method}", *([variant] if variant else []))
            OmegaConf.resolve(cfg)
            for name, node in cfg.method.get("terms", {}).items():
                found.setdefault(f"{name}-{variant or method}", node)
    return found


TERMS = discover()


@pytest.fixture(params=sorted(TERMS))
def term(request) -> Term:
    torch.manual_seed(0)
    node = copy.deepcopy(TERMS[request.param])
    for key, value in (("feature_dim", 5), ("num_classes", 3), ("dropout", 0.0)):
        if key in node:
            node[key] = value
    return build(node, request.param).double()


def requiring_grad(step):
    return step._replace(
        streams={
            name: rows._replace(z=rows.z.requires_grad_(), logits=rows.logits.requires_grad_())
            for name, rows in step.streams.items()
        }
    )


def test_is_a_finite_scalar_for_unequal_n_and_m(term):
    value = term(make_step(n=12, m=9))
    assert value.shape == ()
    assert value.isfinite()


def test_gradient_reaches_exactly_the_streams_it_names(term):
    step = requiring_grad(make_step())
    term(step).backward()
    reached = {
        name
        for name, rows in step.streams.items()
        if any(x.grad is not None and x.grad.abs().sum() > 0 for x in (rows.z, rows.logits))
    }
    assert reached == set(term.streams)


def test_gives_the_same_when_rows_change_places(term):
    step = make_step()
    shuffled = {name: type(rows)(*(column.flip(0) for column in rows)) for name, rows in step.streams.items()}
    assert_close(term(step._replace(streams=shuffled)), term(step))


def test_never_reads_a_hidden_label(term):
    step = make_step()
    lied_to = step.target._replace(y=torch.zeros_like(step.target.y))
    assert_close(term(step._replace(streams={**step.streams, "target": lied_to})), term(step), rtol=0, atol=0)


def test_survives_pickling_and_state_dict(term):
    step = make_step()
    again = pickle.loads(pickle.dumps(term))
    again.load_state_dict(term.state_dict())
    assert_close(again(step), term(step), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_stays_finite_at_tiny_and_huge_scales(term, scale):
    step = make_step(dtype=torch.float32)
    term.float()
    scaled = {n: r._replace(z=r.z * scale, logits=r.logits * scale) for n, r in step.streams.items()}
    step = requiring_grad(step._replace(streams=scaled))
    value = term(step)
    value.backward()
    assert value.isfinite()
    gradients = [x.grad for rows in step.streams.values() for x in (rows.z, rows.logits) if x.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
