"""Backbones: what every one in conf/ must do."""

import pytest
import torch
from conftest import normal, options
from nets import example, net_config, with_statistics
from omegaconf import OmegaConf
from torch import nn
from torch.testing import assert_close

from da.build import build
from da.models.transformer import Transformer

pytestmark = pytest.mark.usefixtures("nowhere")  # no data on this machine are found by chance


SMALL = {"size": 65, "max_length": 12}  # enough for all of them, and fast
BACKBONES = options("net")


class Made:
    """A backbone of conf/, and how to make another one."""

    def __init__(self, name, tiny_bert):
        self.cfg = net_config(name)
        for key, value in SMALL.items():
            if self.cfg.net.input.get(key, 0) > value:
                self.cfg.net.input[key] = value
        if name == "transformer":
            self.cfg.net.backbone.name = tiny_bert
        OmegaConf.resolve(self.cfg.net)
        self.module = self.again(seed=0)

    def again(self, seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = build(self.cfg.net.backbone, "net.backbone")
            if isinstance(backbone, Transformer):
                nn.init.normal_(next(backbone.parameters()))  # its start is no random one
            return with_statistics(backbone, example(self.cfg, 8))


@pytest.fixture(scope="module", params=BACKBONES)
def made(request, tiny_bert):
    return Made(request.param, tiny_bert)


def rows(x, *which):
    return {key: part[list(which)] for key, part in x.items()} if isinstance(x, dict) else x[list(which)]


def test_out_dim_is_the_width_of_the_output_and_in_evaluation_a_row_does_not_depend_on_the_others(made):
    backbone, x = made.module.eval(), example(made.cfg, 3)
    with torch.no_grad():
        z = backbone(x)
        assert z.shape == (3, backbone.out_dim)
        assert z.std() > 0.01
        assert_close(backbone(x), z, rtol=0, atol=0)
        assert_close(backbone(rows(x, 2, 0)), z[[2, 0]], rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_every_parameter_that_is_trained(made):
    backbone = made.again(seed=1).train()
    z = backbone(example(made.cfg, 4))
    (z * normal(*z.shape, seed=5, dtype=z.dtype)).sum().backward()
    trained = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    without = [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    assert next(iter(trained.values())).grad.abs().max() > 0


def test_its_state_dict_makes_another_one_the_same(made):
    backbone, other = made.module.eval(), made.again(seed=2).eval()
    x = example(made.cfg)
    with torch.no_grad():
        assert not torch.allclose(other(x), backbone(x))
        other.load_state_dict(backbone.state_dict())
        assert_close(other(x), backbone(x), rtol=0, atol=0)


def test_it_is_exported_for_any_number_of_rows(made):
    backbone, x = made.module.eval(), example(made.cfg)
    rows_of = {0: torch.export.Dim("n", min=1)}
    shapes = dict.fromkeys(x, rows_of) if isinstance(x, dict) else rows_of
    exported = torch.export.export(backbone, (x,), dynamic_shapes=(shapes,)).module()
    for n in (1, 5):
        x = example(made.cfg, n, seed=n)
        with torch.no_grad():
            assert_close(exported(x), backbone(x), rtol=1e-4, atol=1e-5)
