"""What a network costs, in closed form."""

import time

import pytest
import torch
from conftest import normal
from torch import nn
from torch.testing import assert_close
from torchvision import models

from da import cost
from da.cost import Meter, network_cost


def macs(net, *shape):
    return network_cost(net, torch.zeros(1, *shape))["macs"]


def test_a_linear_layer_multiplies_every_input_by_every_output():
    assert network_cost(nn.Linear(7, 5), torch.zeros(1, 7)) == {
        "parameters": 40,
        "trainable_parameters": 40,
        "macs": 35,
    }


@pytest.mark.parametrize("groups", [1, 2])
def test_a_convolution_does_so_at_every_position(groups):
    net = nn.Conv2d(4, 6, (3, 5), stride=2, padding=1, groups=groups)
    assert net(torch.zeros(1, 4, 11, 13)).shape[2:] == (6, 6)
    assert macs(net, 4, 11, 13) == 6 * 6 * 6 * 3 * 5 * 4 // groups
    assert macs(nn.Conv1d(2, 3, 4), 2, 10) == 3 * 7 * 2 * 4


@pytest.mark.parametrize("training", [True, False])
def test_attention_is_its_matrix_products_also_where_pytorch_has_a_kernel_for_all_of_it(training):
    d, n = 8, 5
    net = nn.TransformerEncoderLayer(d, 2, dim_feedforward=16, batch_first=True).train(training)
    projections, products, feed_forward = 4 * n * d * d, 2 * n * n * d, 2 * n * d * 16
    assert macs(net, n, d) == projections + products + feed_forward
    assert torch.backends.mha.get_fastpath_enabled()


def test_fused_attention_is_counted_too():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x):
            q, k, v = self.qkv(x).view(1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
            return nn.functional.scaled_dot_product_attention(q, k, v)

    assert macs(Attention(), 5, 8) == 5 * 8 * 24 + 2 * 5 * 5 * 8


def test_what_is_not_counted_costs_nothing():
    assert macs(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout()), 3, 8, 8) == 0


def test_frozen_parameters_are_not_trained():
    net = nn.Sequential(nn.Linear(4, 3).requires_grad_(False), nn.BatchNorm1d(3), nn.Linear(3, 2))
    found = network_cost(net, torch.zeros(1, 4))
    assert (found["parameters"], found["trainable_parameters"]) == (15 + 6 + 8, 6 + 8)


def test_a_mapping_is_an_input_and_the_network_is_left_as_it_was():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))})

        def forward(self, x):
            return sum(layer(x[name]) for name, layer in self.layers.items())

    net = Both().train()
    net.layers["a"].eval()
    before, modes = {k: v.clone() for k, v in net.state_dict().items()}, [m.training for m in net.modules()]
    random = torch.get_rng_state()
    assert network_cost(net, {"a": torch.zeros(1, 4), "b": torch.zeros(1, 2)})["macs"] == 12 + 6
    assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)


def test_what_cannot_be_counted_is_null_and_the_mode_comes_back():
    net = nn.Sequential(nn.Linear(4, 3)).train()
    found = network_cost(net, normal(1, 5, dtype=torch.float32))
    assert found == {"parameters": 15, "trainable_parameters": 15, "macs": None}
    assert net.training
    assert net[0].training
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "vit_b_16"])
def test_the_published_number_of_operations_is_found(name):
    published = models.get_model_weights(name).DEFAULT.meta
    net = models.get_model(name).eval()
    found = network_cost(net, torch.zeros(1, 3, 224, 224))
    assert found["parameters"] == published["num_params"]
    assert found["macs"] / 1e9 == pytest.approx(published["_ops"], abs=6e-4)


def write_counter(zone, energy, most=999_999_999):
    zone.mkdir(exist_ok=True)
    (zone / "energy_uj").write_text(f"{energy}\n")
    (zone / "max_energy_range_uj").write_text(f"{most}\n")


def test_energy_is_what_the_packages_counted_also_where_a_counter_began_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_POWERCAP", tmp_path)
    packages = [tmp_path / "intel-rapl:0", tmp_path / "intel-rapl:1"]
    write_counter(packages[0], 100)
    write_counter(packages[1], 999_999_000)
    write_counter(tmp_path / "intel-rapl:0:0", 5)  # the cores of package 0, which counts them too
    meter = Meter()
    write_counter(packages[0], 100 + 360_000_000)
    write_counter(packages[1], 359_999_000)
    write_counter(tmp_path / "intel-rapl:0:0", 500_000_000)
    assert meter.times()["energy_wh"] == pytest.approx(0.2)


def test_without_counters_there_is_no_energy(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "_POWERCAP", tmp_path / "nowhere")
    assert Meter().times()["energy_wh"] is None


def test_waiting_takes_time_and_no_processor(monkeypatch):
    meter = Meter()
    time.sleep(0.2)
    times = meter.times()
    assert times["seconds"] >= 0.2
    assert 0 <= times["cpu_seconds"] < 0.15
