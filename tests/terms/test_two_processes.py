"""Two processes (gloo) equal one on the concatenated batch, in value and gradient: every term, found in conf/."""

import pytest
import torch
from conftest import config, normal, options
from omegaconf import OmegaConf
from processes import on_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import da.distributed
from da.build import build
from da.models.batch_norm import SharedBatchNorm
from da.types import Encoded, Step

pytestmark = pytest.mark.ddp
SIZES = {"source": 16, "target": 8, "labeled": 4, "oracle": 8}
BROKEN = "without gather"


def nodes():
    found = {}
    for method in options("method"):
        for discrepancy in options("discrepancy") if method == "align" else [None]:
            overrides = [f"discrepancy={discrepancy}"] if discrepancy else []
            cfg = config("data=toy", "net=mlp", f"method={method}", *overrides)
            OmegaConf.resolve(cfg)
            for name, node in cfg.method.get("terms", {}).items():
                for key, value in (("feature_dim", 6), ("num_classes", 3), ("dropout", 0.0)):
                    if key in node:
                        node[key] = value
                found.setdefault(f"{name}-{discrepancy or method}", OmegaConf.to_container(node))
    found["entropy"] = {"_target_": "da.terms.entropy.Entropy"}
    found["diversity"] = {"_target_": "da.terms.entropy.Diversity"}
    return found


NODES = nodes()


class Model(nn.Module):
    """A network and one term: what Lightning wraps in DistributedDataParallel."""

    def __init__(self, node: dict) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Sequential(nn.Linear(5, 6), nn.Tanh()), nn.Linear(6, 3)
        self.term = build(OmegaConf.create(node), "term")

    def forward(self, xs: dict, ys: dict) -> torch.Tensor:
        streams = {}
        for name, x in xs.items():
            z, rows = self.body(x), torch.arange(len(x))
            streams[name] = Encoded(z, self.head(z), ys[name], rows, rows)
        return self.term(Step(streams, 0.5))


def batch(rank=0, world=1):
    """The same global batch, of which every rank takes its contiguous share."""
    xs = {name: normal(n, 5, seed=i, dtype=torch.float32) + i for i, (name, n) in enumerate(SIZES.items())}
    ys = {name: torch.arange(n) % 3 for name, n in SIZES.items()}
    return ({n: x.chunk(world)[rank] for n, x in xs.items()}, {n: y.chunk(world)[rank] for n, y in ys.items()})


def evaluate(model, rank=0, world=1):
    value = model(*batch(rank, world))
    value.backward()
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    gradients = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in inner.named_parameters()}
    return da.distributed.mean_over_ranks(value.detach()), gradients


def worker(rank, world, cases):
    results = {
        name: evaluate(DistributedDataParallel(Model(node), find_unused_parameters=True), rank, world)
        for name, node in cases.items()
    }
    import da.terms.align

    da.terms.align.gather = lambda x: x
    model = DistributedDataParallel(Model(cases["align-mmd"]), find_unused_parameters=True)
    results[BROKEN] = evaluate(model, rank, world)
    return results


@pytest.fixture(scope="module")
def two():
    return on_processes(2, worker, NODES)


@pytest.mark.parametrize("name", sorted(NODES))
def test_value_and_gradient_equal_those_of_one_process(two, name):
    value, gradients = evaluate(Model(NODES[name]))
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-5
    for value_2, gradients_2 in (results[name] for results in two):
        assert_close(value_2, value, atol=1e-6, rtol=1e-6)
        assert_close(gradients_2, gradients, atol=1e-6, rtol=1e-5)


def test_the_comparison_fails_when_the_gather_is_removed(two):
    _, gradients = evaluate(Model(NODES["align-mmd"]))
    gap = max(float((two[0][BROKEN][1][n] - g).abs().max()) for n, g in gradients.items())
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
