"""Terms where each domain has classes of its own: they take each for itself, or refuse."""

from functools import partial

import pytest
import torch
from conftest import Net, make_step, normal
from found import begin, make_term, term_nodes

from da.models.heads import DomainHeads
from da.terms.base import Objective
from da.types import ROLE_OF_STREAM

NODES = term_nodes()
CLASSES = {"source": 3, "target": 4}


def step_of_own_classes():
    """A step whose domains have different numbers of classes."""
    net = Net(head=partial(DomainHeads, target_classes=CLASSES["target"]))
    step = make_step()
    streams = {}
    for i, (name, rows) in enumerate(step.streams.items()):
        c = CLASSES[ROLE_OF_STREAM[name]]
        y = torch.where(rows.y < 0, rows.y, torch.arange(len(rows.y)) % c)
        layers = {**rows.layers, "head.source": normal(len(rows.y), CLASSES["source"], seed=500 + i)}
        streams[name] = rows._replace(logits=normal(len(rows.y), c, seed=400 + i), y=y, layers=layers)
    return step._replace(streams=streams, net=net)


@pytest.mark.parametrize("name", sorted(NODES))
def test_a_term_that_compares_classes_refuses_and_any_other_works(name):
    step = step_of_own_classes()
    term = make_term(NODES[name], step.net).to(torch.float64)
    if term.same_classes:
        with pytest.raises(ValueError, match=r"'it' compares both domains' classes.*separate"):
            Objective({"it": term}).prepare(step.net)
    else:
        Objective({"it": term}).prepare(step.net)
        assert begin(term, step.net)(step).isfinite()
