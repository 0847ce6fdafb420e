"""Two processes (gloo) and four equal one on the concatenated batch, in value and gradient: every term in conf/."""

import pytest
import torch
from conftest import Net, normal
from found import make_term, term_nodes
from processes import on_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import da.distributed
from da.models.batch_norm import SharedBatchNorm
from da.models.heads import BridgedHead
from da.terms.base import Objective
from da.terms.weights import Constraint, GradientBalance, Uncertainty
from da.types import HIDDEN, UNENCODED, Encoded, Samples, Step

pytestmark = pytest.mark.ddp
SIZES = {"source": 16, "target": 8, "target_strong": 8, "labeled": 4, "labeled_twin": 4, "oracle": 8}
BROKEN = "without gather"
NODES = term_nodes()
WEIGHTS = {
    "gradient balance": lambda: GradientBalance(0.5),
    "uncertainty": lambda: Uncertainty(0.5),
    "constraint": lambda: Constraint(0.01, initial=0.5),
}


class Model(nn.Module):
    """A network and one term, or a sum: what Lightning wraps in DistributedDataParallel."""

    def __init__(self, node: dict, weight: str | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = Net(torch.float64, BridgedHead)
        self.term = make_term(node, self.net)
        if weight is not None:
            task = make_term({"_target_": "da.terms.supervised.CrossEntropy"}, self.net)
            self.term = Objective({"task": task, "term": self.term}, {"term": WEIGHTS[weight]()})
        self.double()
        self.net.watch(self.term.layers)
        with torch.no_grad():  # a network that trained: it is sure of some rows, and what compares it with its start
            for parameter in self.net.parameters():  # is not 0
                parameter += 0.1 * parameter.roll(1, 0)
            self.net.head.fc.weight *= 5

    def forward(self, batch: dict) -> torch.Tensor:
        streams = {}
        for name, rows in batch.items():
            if name in UNENCODED:
                continue
            z, logits = self.net(rows.x)
            streams[name] = Encoded(z, logits, rows.y, rows.domain, rows.index, dict(self.net.watched))
        value = self.term(Step(streams, 0.5, batch, self.net))
        return value.total if isinstance(self.term, Objective) else value


def batch(rank=0, world=1):
    """The same global batch, of which every rank takes its contiguous share."""
    found = {}
    for i, (name, n) in enumerate(SIZES.items()):
        x, rows = normal(n, 4, seed=i) + i, torch.arange(n)
        y = torch.full_like(rows, HIDDEN) if name.startswith("target") else rows % 3
        found[name] = Samples(*(column.chunk(world)[rank] for column in (x, y, rows % 2, rows)))
    return found


def evaluate(model, rank=0, world=1):
    """Value and gradients of the second of two calls: what a term remembers of the first must agree too."""
    for _ in range(2):
        model.zero_grad()
        value = model(batch(rank, world))
        value.backward()
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    gradients = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in inner.named_parameters()}
    return da.distributed.mean_over_ranks(value.detach()), gradients


def parallel(*arguments):
    return DistributedDataParallel(Model(*arguments), find_unused_parameters=True)


def worker(rank, world, cases):
    results = {name: evaluate(parallel(node), rank, world) for name, node in cases.items()}
    results |= {weight: evaluate(parallel(cases["align-mmd"], weight), rank, world) for weight in WEIGHTS}
    import da.terms.align

    da.terms.align.gather = lambda x: x
    results[BROKEN] = evaluate(parallel(cases["align-mmd"]), rank, world)
    return results


@pytest.fixture(scope="module", params=[2, 4], ids=["two", "four"])
def together(request):
    return on_processes(request.param, worker, NODES)


def alone(name):
    return evaluate(Model(NODES["align-mmd"], name) if name in WEIGHTS else Model(NODES[name]))


@pytest.mark.parametrize("name", sorted([*NODES, *WEIGHTS]))
def test_value_and_gradient_equal_those_of_one_process(together, name):
    value, gradients = alone(name)
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-6
    for value_n, gradients_n in (results[name] for results in together):
        assert_close(value_n, value, atol=1e-9, rtol=1e-7)
        assert_close(gradients_n, gradients, atol=1e-9, rtol=1e-7)


def test_the_comparison_fails_when_the_gather_is_removed(together):
    _, gradients = alone("align-mmd")
    gap = max(float((together[0][BROKEN][1][n] - g).abs().max()) for n, g in gradients.items())
    assert gap > 1e-3


def normalise(rank, world):
    layer = SharedBatchNorm(4)
    x = 3 * normal(12, 4, 5, dtype=torch.float32) + 1
    mine = x.chunk(world)[rank].clone().requires_grad_()
    out = layer(mine)
    (out * normal(12, 4, 5, seed=9, dtype=torch.float32).chunk(world)[rank]).sum().backward()
    return out.detach(), mine.grad, layer.running_mean, layer.running_var


def test_shared_batch_norm_normalises_by_the_batch_of_both_processes():
    a, b = on_processes(2, normalise)
    plain = nn.BatchNorm1d(4)
    plain.load_state_dict(SharedBatchNorm(4).state_dict())
    x = (3 * normal(12, 4, 5, dtype=torch.float32) + 1).requires_grad_()
    out = plain(x)
    (out * normal(12, 4, 5, seed=9, dtype=torch.float32)).sum().backward()
    assert_close(torch.cat([a[0], b[0]]), out.detach(), atol=1e-6, rtol=1e-5)
    assert_close(torch.cat([a[1], b[1]]), x.grad, atol=1e-5, rtol=1e-4)
    assert_close(a[2], plain.running_mean)
    assert_close(b[3], plain.running_var)
