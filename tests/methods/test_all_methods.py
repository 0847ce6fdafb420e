"""What every method must satisfy: each is found in conf/method and trained on toy data."""

import json

import pytest
import torch
from conftest import TOY, config, options, power_cut
from omegaconf import open_dict
from torch.testing import assert_close

from da.models.state import load_checkpoint
from da.run import run

METHODS = options("method")
SURE = {  # what it takes to act within twelve batches
    "fixmatch": ("method.terms.fixmatch.threshold=0.4",),  # no row is sure of its class
    "teachers": ("method.labels=hard",),  # its only teacher is its start, from whose soft labels there is no gradient
}
NETS = {"gvb": ("+net/head=bridged",)}  # methods that bring a head of their own
LABELS = {"target_only": ["oracle"], "finetune": ["labeled"], "labeled_only": ["labeled"]}
SHORT = (*TOY, "trainer.limit_train_batches=6", "trainer.max_epochs=2")


def train(tmp_path, *overrides, weights=None):
    """Train on toy; return (results, state of the net). `weights` replaces every weight of the method."""
    cfg = config(*SHORT, *overrides, run_dir=tmp_path)
    if weights is not None:
        with open_dict(cfg):
            for name in cfg.method.weights:
                cfg.method.weights[name] = {"_target_": "da.schedules.Constant", "value": weights}
    results = run(cfg)
    return results, load_checkpoint(tmp_path / "checkpoints/last.ckpt")["state_dict"]


def net_of(state):
    return {name: value for name, value in state.items() if name.startswith("net.")}


def difference(a, b):
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


@pytest.mark.parametrize("method", METHODS)
def test_trains_and_reports(method, tmp_path):
    results, _ = train(tmp_path, f"method={method}")
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert results["status"] == "complete"
    assert results["steps"] == 12
    assert results["target_labels"] == LABELS.get(method, [])
    for role in ("source", "target"):
        assert set(results["test"][f"{role}_acc"]) == {"last", "selected"}
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"step", "train/lr", "oracle/target_acc", "val/validator/infomax", "test/target_acc/last"} <= set(header)
    assert any(key.startswith("train/loss") for key in header)


@pytest.mark.parametrize("method", ["deep_jdot", "mcd", "shot", "teachers", "vat", "wdgrl"])
def test_trains_in_double_precision(method, tmp_path):
    """As the weighted sums do, see tests/stacked."""
    results, state = train(tmp_path, f"method={method}", "trainer.precision=64-true", *SURE.get(method, ()))
    assert results["status"] == "complete"
    assert state["net.head.weight"].dtype == torch.float64


WEIGHTED = [name for name in METHODS if "weights" in config(*TOY, f"method={name}").method]


def test_only_the_methods_without_adaptation_have_no_weights():
    assert set(METHODS) - set(WEIGHTED) == {"source_only", "target_only", "labeled_only"}


@pytest.mark.parametrize("method", WEIGHTED)
def test_lambda_moves_the_features(method, tmp_path):
    overrides = (f"method={method}", *SURE.get(method, ()))
    _, without = train(tmp_path / "0", *overrides, weights=0.0)
    _, with_ = train(tmp_path / "1", *overrides, weights=1.0)
    features = [name for name in net_of(without) if name.startswith("net.backbone")]
    moved = max(float((without[name] - with_[name]).abs().max()) for name in features)
    assert moved > 1e-6  # the same lambda twice gives 0 exactly, see below


SUMS = [n for n in WEIGHTED if config(*TOY, f"method={n}").method._target_.endswith("WeightedSum")]


@pytest.mark.parametrize("method", SUMS)
def test_a_sum_with_lambda_0_trains_the_network_of_source_only(method, tmp_path):
    plain = ("net.batch_norm=separate", "net.backbone.dropout=0.0")
    _, without = train(tmp_path / "0", f"method={method}", *plain, weights=0.0)
    _, source_only = train(tmp_path / "s", "method=source_only", *plain, *NETS.get(method, ()))
    assert difference(net_of(source_only), net_of(without)) == 0.0


def test_source_free_training_opens_no_source(tmp_path, monkeypatch):
    _, _ = train(tmp_path / "source", "method=source_only")
    from da.data.toy import Toy
    from da.methods.shot import Shot

    opened = []
    read = Toy.read
    monkeypatch.setattr(Toy, "read", lambda self, role: opened.append(role) or read(self, role))
    seen_at_the_end = []
    monkeypatch.setattr(Shot, "on_train_end", lambda self: seen_at_the_end.extend(opened))
    checkpoint = tmp_path / "source/checkpoints/last.ckpt"
    train(tmp_path / "shot", "method=shot", f"init_from={checkpoint}")
    assert seen_at_the_end == ["target"]


@pytest.mark.parametrize("method", ["cdan", "mcd", "shot"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(method, tmp_path):
    dropout = ("net.backbone.dropout=0.3",)
    (_, a), (_, b) = (train(tmp_path / name, f"method={method}", *dropout) for name in "ab")
    _, other = train(tmp_path / "c", f"method={method}", "seed=1", *dropout)
    assert difference(a, b) == 0.0
    assert difference(a, other) > 1e-3


@pytest.mark.parametrize("method", ["dann", "mcd"])
def test_a_run_resumed_after_an_epoch_equals_one_never_stopped(method, tmp_path):
    overrides = (f"method={method}", "net.backbone.dropout=0.3")
    unbroken, whole = train(tmp_path / "whole", *overrides)

    with power_cut(epoch=1, batch=2):
        train(tmp_path / "cut", *overrides)
    assert json.loads((tmp_path / "cut/results.json").read_text())["status"] == "failed"
    results, resumed = train(tmp_path / "cut", *overrides, f"ckpt_path={tmp_path / 'cut/checkpoints/last.ckpt'}")
    assert difference(whole, resumed) == 0.0
    for part in ("test", "selected", "oracle", "validators", "steps"):
        assert results[part] == unbroken[part]


def test_mmd_brings_the_domains_together(tmp_path):
    """The discrepancy between the domains after training is smaller with lambda than without."""
    from da.discrepancies.linear import mean_distance

    gaps = []
    for weight in (0.0, 5.0):
        folder = tmp_path / str(weight)
        overrides = ("method=align", "discrepancy=linear", "data.shape=blobs", "trainer.limit_train_batches=20")
        train(folder, *overrides, weights=weight)
        cfg = config(*SHORT, *overrides)
        from da.build import build
        from da.data.rows import Draw

        data, net = build(cfg.data, "data"), build(cfg.net, "net")
        state = load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
        net.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
        z = [
            net(data.eval_set(role, "test")[Draw(torch.arange(500), 0)].x)[0].detach() for role in ("source", "target")
        ]
        scale = torch.cat(z).var(dim=0).sum()
        gaps.append(float(mean_distance(*z) / scale))
    assert gaps[1] < 0.5 * gaps[0]


def test_two_schedules_one_lambda_one_reversal_are_both_written(tmp_path):
    import csv

    train(tmp_path, "method=dann", "method.weights.adversarial.value=0.3", "method.terms.adversarial.reversal.high=0.5")
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(lines) if row["train/loss"]]
    assert {float(row["train/weight/adversarial"]) for row in rows} == {0.3}
    strengths = [float(row["train/reversal/adversarial"]) for row in rows]
    assert strengths[0] == 0.0
    assert strengths == sorted(strengths)
    assert_close(torch.tensor(strengths[-1]), torch.tensor(0.5), atol=1e-3, rtol=0)
