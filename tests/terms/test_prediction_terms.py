"""The terms on predictions: two processes equal one, over two steps of a network with batch norm; and each one acts."""

import copy
from functools import cache

import pytest
import torch
from conftest import config, make_step, normal
from found import make_term
from omegaconf import OmegaConf
from processes import on_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import da.distributed
from da.models.batch_norm import SharedBatchNorm
from da.schedules import Constant
from da.terms.base import Objective
from da.terms.supervised import CrossEntropy
from da.types import Encoded, Samples, Step

# Thresholds such that some rows of random predictions are kept, and not all.
CASES = {
    "fbnm": [],
    "cc": ["terms.cc.threshold=0.4"],
    "afn_hard": [],
    "afn_step": [],
    "vat": [],
    "vat-both": ["terms.vat.streams=[source,target]"],
    "mixup": [],
    "mixup-source": ["terms.mixup.stream=source"],
    "pseudo_label": ["terms.pseudo_label.threshold=0.4"],
    "pseudo_label-kept": ["terms.pseudo_label.threshold=0.6", "terms.pseudo_label.mean_over=kept"],
    "fixmatch": ["terms.fixmatch.threshold=0.4"],
    "atdoc_nc": [],
    "atdoc_na": [],
    "nrc": [],
    "bsp": [],
}
ROWS = {"source": 16, "target": 8, "target_strong": 8}


@cache
def node(name):
    """The term's config with the sizes of the small network below."""
    chosen = ["data=toy", "net=mlp", "method=source_only", f"term={name.partition('-')[0]}"]
    cfg = config(*chosen, *(f"method.{override}" for override in CASES[name]))
    OmegaConf.resolve(cfg)
    (found,) = (x for key, x in OmegaConf.to_container(cfg.method)["terms"].items() if key != "task")
    return {**found, **{key: size for key, size in (("feature_dim", 5), ("num_classes", 3)) if key in found}}


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 5), SharedBatchNorm(5), nn.Tanh())
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        z = self.layers(x)
        return z, 4 * self.head(z)


class Model(nn.Module):
    """A network with batch norm and one term: what Lightning wraps in DistributedDataParallel."""

    def __init__(self, node):
        super().__init__()
        self.net = Body()
        self.term = make_term(copy.deepcopy(node), self.net)
        self.double()

    def forward(self, batch):
        streams = {name: Encoded(*self.net(s.x), s.y, s.domain, s.index) for name, s in batch.items()}
        return self.term(Step(streams, 0.5, batch, self.net))


def batch(seed, rank, world):
    """Global rows, of which every rank takes its contiguous share; half of the target is seen again one step later."""
    samples = {}
    for i, (name, n) in enumerate(ROWS.items()):
        x = normal(n, 4, seed=10 * seed + i)
        rows = torch.arange(n)
        whole = Samples(x, rows % 3 if name == "source" else -torch.ones_like(rows), rows, rows + 4 * seed)
        samples[name] = Samples(*(column.chunk(world)[rank] for column in whole))
    return samples


def two_steps(rank, world, node):
    inner = Model(node)
    model = DistributedDataParallel(inner, find_unused_parameters=True) if world > 1 else inner
    values = []
    for seed in range(2):
        inner.zero_grad()
        value = model(batch(seed, rank, world))
        value.backward()
        values.append(da.distributed.mean_over_ranks(value.detach()))
    gradients = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in inner.named_parameters()}
    return torch.stack(values), gradients, dict(inner.named_buffers())


def worker(rank, world, nodes):
    return {name: two_steps(rank, world, node) for name, node in nodes.items()}


@pytest.fixture(scope="module")
def two():
    return on_processes(2, worker, {name: node(name) for name in CASES})


@pytest.mark.ddp
@pytest.mark.parametrize("name", CASES)
def test_two_steps_on_two_processes_equal_those_of_one(two, name):
    values, gradients, buffers = two_steps(0, 1, node(name))
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-5
    for values_2, gradients_2, buffers_2 in (results[name] for results in two):
        assert_close(values_2, values)
        assert_close(gradients_2, gradients)
        assert_close(buffers_2, buffers)


@pytest.mark.parametrize("name", CASES)
def test_it_acts(name):
    """One step of the optimizer from the same start: with lambda = 1 the network is another than with lambda = 0."""
    trained = []
    for weight in (0.0, 1.0):
        net = Body().double()
        terms = {"task": CrossEntropy(), "term": make_term(copy.deepcopy(node(name)), net).double()}
        rows = make_step().batch
        streams = {n: Encoded(*net(s.x), s.y, s.domain, s.index) for n, s in rows.items()}
        Objective(terms, {"term": Constant(weight)})(Step(streams, 0.5, rows, net)).total.backward()
        torch.optim.SGD(net.parameters(), lr=0.1).step()
        trained.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert (trained[0] - trained[1]).abs().max() > 1e-6
