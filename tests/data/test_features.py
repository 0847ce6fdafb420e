import pytest
import torch
from conftest import config
from photos import write_domain
from torch import nn

from da.assemble import assemble
from da.build import build
from da.data.features import FeatureCache, weights_hash
from da.data.folder import Folder
from da.data.rows import Draw, TensorRows
from da.models.state import load_checkpoint
from da.run import run


class Backbone(nn.Module):
    """Convolution, batch norm, dropout and mean: what differs between training and evaluation is there."""

    out_dim = 5

    def __init__(self, seed=0, dropout=0.5):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Dropout(dropout))
        self.rows = 0

    def forward(self, x):
        self.rows += len(x)
        return self.layers(x).mean(dim=(2, 3))


def rows(n=150, seed=0, transform=None):
    x = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return TensorRows(x, torch.zeros(n), 0, transform)


def double(x, draw):
    return 2 * x


def test_features_are_those_of_the_backbone_in_evaluation_mode():
    backbone, data = Backbone(), rows(transform=double)
    z = FeatureCache(backbone.train())(data, "hash")
    with torch.no_grad():
        expected = Backbone().eval()(2 * data.x)
    assert z.shape == (150, 5)
    torch.testing.assert_close(z, expected)


def test_they_are_computed_once():
    first, again = Backbone(), Backbone()
    z = FeatureCache(first)(rows(), "hash")
    assert first.rows == 151  # one row tells the width
    assert torch.equal(FeatureCache(again)(rows(), "hash"), z)
    assert again.rows == 1


@pytest.mark.parametrize("change", ["weights", "statistics", "code", "content", "transform"])
def test_what_matters_to_them_is_another_entry(change):
    FeatureCache(Backbone())(rows(), "hash")
    backbone = Backbone(dropout=0.1) if change == "code" else Backbone(seed=int(change == "weights"))
    if change == "statistics":
        backbone.layers[1].running_mean += 1
    data = rows(transform=double if change == "transform" else None)
    z = FeatureCache(backbone)(data, "other" if change == "content" else "hash")
    assert backbone.rows == 151
    with torch.no_grad():
        torch.testing.assert_close(z, backbone.eval()(data[Draw(torch.arange(150), 0)].x))


def test_the_hash_of_weights_knows_their_names():
    a, b = nn.ModuleDict({"a": nn.Linear(2, 2)}), nn.ModuleDict({"b": nn.Linear(2, 2)})
    b["b"].load_state_dict(a["a"].state_dict())
    assert weights_hash(a) != weights_hash(b)
    assert weights_hash(a) == weights_hash(nn.ModuleDict({"a": b["b"]}))


def folder(root, **settings):
    return Folder(
        "a",
        "b",
        input={"channels": 3, "size": 7},
        root=str(root),
        batch_size={"source": 4, "target": 4},
        **settings,
    )


def test_a_folder_trains_and_scores_on_the_features_of_what_it_would_score(tmp_path):
    for seed, name in enumerate("ab"):
        write_domain(tmp_path / name, {"cat": 6, "dog": 5}, seed=seed)
    plain, cached = folder(tmp_path), folder(tmp_path)
    backbone = Backbone()
    cached.encode = FeatureCache(backbone)
    everything = Draw(torch.arange(9), 3)
    for part in ("train", "val", "test"):
        for role in ("source", "target"):
            own = getattr(cached.domain(role), part)
            draw = Draw(torch.arange(len(own)), 3)
            scored = plain.domain(role).val.rows  # all rows of the domain, not augmented
            with torch.no_grad():
                expected = backbone.eval()(scored[Draw(own.chosen, 0)].x)
            torch.testing.assert_close(own[draw].x, expected)
            assert torch.equal(own[draw].y, own.y)
    before = backbone.rows
    again = folder(tmp_path)
    again.encode = FeatureCache(backbone)
    assert torch.equal(again.domain("source").train[everything].x, cached.domain("source").train[everything].x)
    assert backbone.rows == before + 1


def test_a_run_on_the_cache_learns_and_scores_what_it_would_without(tmp_path):
    """A residual network with batch norm, frozen as it starts, and five steps of CORAL: the same in every number."""
    for seed, name in enumerate("ab"):
        write_domain(tmp_path / name, {"cat": 9, "dog": 8}, seed=seed)
    results, states = [], []
    for cached in (False, True):
        folder = tmp_path / str(cached)
        chosen = f"data.source={tmp_path / 'a'}", f"data.target={tmp_path / 'b'}", f"data.cache_features={cached}"
        short = "trainer.max_epochs=1", "+data.steps_per_epoch=5", "figures=none", "data.augment=none", "method=coral"
        short += "data.batch_size.source=8", "data.batch_size.target=8"
        net = "net=cifar_resnet20", "net.freeze_backbone=true"
        results.append(run(config("data=folder", *chosen, *net, *short, run_dir=folder)))
        states.append(load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"])
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["validators"] == pytest.approx(results[1]["validators"], rel=1e-4)
    torch.testing.assert_close(states[0], states[1], rtol=1e-4, atol=1e-6)
    assert results[1]["cost"]["macs"] == 64 * 2  # of the head: the features are read, not computed
    assert results[0]["cost"]["macs"] > 64 * 2
    assert results[0]["cost"]["parameters"] == results[1]["cost"]["parameters"]


def test_the_cache_holds_the_features_of_the_weights_that_training_starts_from(tmp_path):
    """Those of `init_from`, not those that the network was built with."""
    for seed, name in enumerate("ab"):
        write_domain(tmp_path / name, {"cat": 5, "dog": 5}, seed=seed)
    words = ("data=folder", f"data.source={tmp_path / 'a'}", f"data.target={tmp_path / 'b'}", "net=cifar_resnet20")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        other = build(config(*words, "data.num_classes=2").net, "net")
    torch.save({"state_dict": {f"net.{k}": v for k, v in other.state_dict().items()}}, tmp_path / "other.ckpt")
    frozen = "net.freeze_backbone=true", "data.cache_features=true", f"init_from={tmp_path / 'other.ckpt'}"
    data, _ = assemble(config(*words, *frozen))
    plain, _ = assemble(config(*words))
    for role in ("source", "target"):
        x = plain.domain(role).test.rows[Draw(torch.arange(10), 0)].x
        with torch.no_grad():
            torch.testing.assert_close(data.domain(role).test.rows.x, other.eval().backbone(x))
