"""`da fuse`: what is written is what the formula says, is a network of the run, and was chosen by what may choose."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import TOY, call, config, normal
from omegaconf import OmegaConf
from photos import write_domain
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn
from torch.testing import assert_close

from da.build import build
from da.data.toy import Toy
from da.fuse.mixing import Fusing
from da.fuse.networks import read_network
from da.fuse.trial import Trial, fed_domains
from da.models.mlp import Mlp
from da.models.network import Bottleneck, Network
from da.models.state import load_checkpoint
from da.run import run
from da.transfer.curve import alphas, barrier, best
from da.transfer.fusion import fuse
from da.transfer.statistics import estimate_statistics, stale_statistics
from da.use import open_run

NORM = "net.bottleneck={_target_: da.models.network.Bottleneck, _partial_: true, dropout: 0.2}"
RUNS = {
    "a": ("method=mmd", "seed=0", NORM),
    "b": ("method=source_only", "seed=1", NORM),
    "c": ("method=shot", "seed=2", NORM),
    "plain": ("method=source_only", "seed=0"),  # without batch norm
    "plain2": ("method=source_only", "seed=1"),
    "blobs": ("method=source_only", "data.shape=blobs", "data.num_classes=3"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of some runs on toy data."""
    folder = tmp_path_factory.mktemp("fuse")
    with torch.random.fork_rng(devices=[]):
        for name, overrides in RUNS.items():
            run(config(*TOY, "trainer.limit_test_batches=1.0", *overrides, run_dir=folder / name))
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of that folder to stand in."""
    folder = tmp_path / "runs"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


def state_of(path, weights="selected"):
    path = path if str(path).endswith(".ckpt") else f"{path}/checkpoints/{weights}.ckpt"
    stored = load_checkpoint(path)["state_dict"]
    return {key.removeprefix("net."): value for key, value in stored.items() if key.startswith("net.")}


def record_of(path):
    return load_checkpoint(path)["fused"]


def fused(*words):
    assert call("fuse", *words, "--out", "out.ckpt") == 0
    return state_of("out.ckpt")


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def rows(path="out.csv"):
    lines = Path(path).read_text().splitlines()
    return [{key: float(value) if value else None for key, value in row.items()} for row in csv.DictReader(lines)]


# --- mixing


@pytest.mark.parametrize("keep", [(), ("--keep-statistics",)])
def test_at_alpha_1_and_0_it_is_one_of_the_networks_bit_for_bit(here, keep, capsys):
    assert_same(fused("a", "b", "--alpha", 1, *keep), state_of("a"))
    assert_same(fused("a", "b/checkpoints/last.ckpt", "--alpha", 0, *keep), state_of("b", "last"))
    assert capsys.readouterr().out.count("those of one network, which still hold") == 2


def test_with_the_features_of_one_network_the_logits_are_the_mix_of_two_heads(here):
    state = fused("plain", "plain2", "--alpha", 0.3, "--group", "backbone=1")
    one, two, mixed = (open_run(here / name).net for name in ("plain", "plain2", "plain"))
    mixed.load_state_dict(state)
    x = normal(9, 2, dtype=torch.float32)
    z, logits = mixed(x)
    assert torch.equal(z, one(x)[0])
    assert_close(logits, 0.3 * one.head(z) + 0.7 * two.head(z))


def test_groups_and_three_networks(here):
    a, b, c = (state_of(name) for name in "abc")
    words = ("a", "b", "c", "--alpha", "0.5,0.3,0.2", "--group", "head=0,0,1", "--group", "head.bias=1,0,0")
    state = fused(*words, "--keep-statistics")
    assert_same(state, fuse([a, b, c], [0.5, 0.3, 0.2], {"head": [0, 0, 1], "head.bias": [1, 0, 0]}))
    assert torch.equal(state["head.weight"], c["head.weight"])
    assert torch.equal(state["head.bias"], a["head.bias"])
    key = "backbone.0.weight"
    assert_close(state[key], 0.5 * a[key] + 0.3 * b[key] + 0.2 * c[key])
    record = record_of("out.ckpt")
    assert record["shares"] == [0.5, 0.3, 0.2]
    assert record["groups"] == {"head": [0, 0, 1], "head.bias": [1, 0, 0]}
    assert record["networks"] == ["a", "b", "c"]


def test_task_vectors_are_added_to_the_base(here):
    base, a, b = state_of("plain", "last"), state_of("plain"), state_of("plain2")
    state = fused("plain", "plain2", "--base", "plain/checkpoints/last.ckpt", "--scale", 0.4)
    for key, value in state.items():
        assert_close(value, base[key] + 0.4 * (a[key] - base[key] + b[key] - base[key]))


def test_a_soup_of_one_network_is_that_network_and_of_three_their_mean(here):
    assert_same(fused("a", "--soup", "uniform"), state_of("a"))
    assert_same(fused("a", "--soup", "greedy"), state_of("a"))
    state = fused("a", "b", "c", "--soup", "uniform", "--keep-statistics")
    for key, value in state.items():
        if value.is_floating_point():
            assert_close(value, sum(state_of(name)[key] for name in "abc") / 3)


def test_a_greedy_soup_goes_by_source_validation_rows(here, capsys):
    words = ("plain", "plain2", "--soup", "greedy")
    state = fused(*words)
    accuracy = {name: naive(state_of(name))["source_acc"] for name in ("plain", "plain2")}
    both = fuse([state_of("plain"), state_of("plain2")], [0.5, 0.5])
    first = max(accuracy, key=accuracy.get)
    kept = naive(both)["source_acc"] >= accuracy[first]
    assert_same(state, both if kept else state_of(first))
    assert record_of("out.ckpt")["score"] == naive(state)["source_acc"]
    assert f"mean of {2 if kept else 1} of 2 networks" in capsys.readouterr().out


# --- what becomes of the result


def test_the_result_is_a_checkpoint_of_the_run(here, tmp_path):
    state = fused("a", "b", "--alpha", 0.25)
    assert_same(open_run("a", weights="out.ckpt").net.state_dict(), state)
    frozen = ("method=source_only", "optimizer.lr=0", NORM, f"init_from={here / 'out.ckpt'}")
    run(config(*TOY, *frozen, run_dir=tmp_path / "next"))
    key = "backbone.0.weight"
    assert torch.equal(state_of(tmp_path / "next")[key], state[key])
    shutil.copy("out.ckpt", "again.ckpt")
    assert_same(fused("again.ckpt", "a", "--alpha", 1), state)
    assert not list(here.glob("*.part"))


def test_predict_and_export_take_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        x = np.random.default_rng(seed).normal(size=(24, 3)).astype(np.float32)
        np.savez(f"{name}.npz", x=x, y=np.arange(24) % 2)
    small = ("data=tensors", "data.source=a.npz", "data.target=b.npz", "net=mlp", "trainer.max_epochs=1")
    small += ("data.batch_size.source=8", "data.batch_size.target=8", "figures=none", "method=source_only")
    for seed in (0, 1):
        assert call("train", *small, f"seed={seed}", f"run_dir=r{seed}") == 0
    fused("r0", "r1", "--alpha", 0.5)
    assert call("predict", "r0", "b.npz", "--weights", "out.ckpt", "--probabilities", "--out", "p.csv") == 0
    opened = open_run("r0", "out.ckpt")
    new, _ = opened.data.inputs("b.npz")
    (batch,) = opened.data.eval_loader(new, shared=False)
    p = opened.net(batch.x)[1].softmax(dim=1).detach().double()
    assert_close(torch.from_numpy(pl.read_csv("p.csv")[:, 3:].to_numpy().copy()), p, atol=1e-6, rtol=0)
    assert call("export", "r0", "--format", "torch_export", "--weights", "out.ckpt", "--out", "n.pt2") == 0
    np.savez("b.npz", x=x + 1, y=np.arange(24) % 2)
    assert call("fuse", "r0", "r1", "--sweep", "--out", "s.ckpt") == 1
    assert "the data 'b' of r0 have changed since it was trained" in capsys.readouterr().err


# --- batch norm


@pytest.mark.parametrize("policy", ["joint", "separate"])
def test_statistics_are_those_of_a_pass_over_the_training_rows_by_pytorch(here, policy):
    cfg = OmegaConf.load("a/config.yaml")
    cfg.net.batch_norm = policy
    OmegaConf.save(cfg, "a/config.yaml")
    state = fused("a", "b", "--alpha", 0.5)
    data, net = build(cfg.data, "data"), build(cfg.net, "net")
    data.steps_per_epoch = None  # all rows, whatever an epoch of the run was
    data.load(frozenset({"source", "target"}))
    batches = [batch for batch, *_ in data.train_dataloader()]
    assert len(batches) == 1000 // 32
    xs = [[batch["source"].x, batch["target"].x] for batch in batches]
    inputs = [torch.cat(pair) for pair in xs] if policy == "joint" else [x for pair in xs for x in pair]
    net.load_state_dict(fuse([state_of("a"), state_of("b")], [0.5, 0.5]))
    torch.manual_seed(0)
    update_bn(inputs, net)
    assert_same(state, net.state_dict())
    assert state["bottleneck.1.num_batches_tracked"] == len(inputs)
    assert "31 passes" in record_of("out.ckpt")["statistics"] or policy == "separate"


def test_a_pass_can_be_cut_short_and_its_domains_named(here):
    fused("a", "b", "--batches", 3)
    assert "3 passes over batches of 32 source + 32 target training rows of a" in record_of("out.ckpt")["statistics"]
    fused("a", "b", "--domains", "target")
    assert "31 passes over batches of 32 target training rows" in record_of("out.ckpt")["statistics"]


def test_by_default_the_domains_are_those_that_the_methods_feed(here):
    assert fed_domains([here / "b"]) == {"source"}
    assert fed_domains([here / "c"]) == {"target"}
    assert fed_domains([here / "b", here / "c"]) == {"source", "target"}


def test_kept_statistics_are_mixed_as_parameters_and_no_data_are_opened(here, monkeypatch, capsys):
    monkeypatch.setattr(Toy, "read", lambda self, role: pytest.fail("the data were opened"))
    state = fused("a", "b", "--alpha", 0.3, "--keep-statistics")
    assert_same(state, fuse([state_of("a"), state_of("b")], [0.3, 0.7]))
    assert "mixed as parameters, as asked" in capsys.readouterr().out
    fused("plain", "plain2")  # there is no batch norm
    state = fused("a", "b", "--alpha", 1, "--group", "head=0")  # behind the last batch norm
    assert_same(state, fuse([state_of("a"), state_of("b")], [1, 0], {"head": [0, 1]}))


class Body(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3))
        self.out_dim = 6


def network(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Network(Body(), 5, 3, bottleneck=Bottleneck)
        net.train()(torch.randn(8, 4))
    return net.eval()


def test_statistics_no_longer_hold_behind_the_first_part_that_was_mixed():
    a, b = (network(seed).state_dict() for seed in (0, 1))
    both = ["backbone.1", "bottleneck.1"]
    assert stale_statistics(fuse([a, b], [0.5, 0.5]), [a, b]) == both
    assert stale_statistics(fuse([a, b], [0.5, 0.5], {"backbone": [0, 1]}), [a, b]) == both[1:]
    assert stale_statistics(fuse([a, b], [0, 1], {"bottleneck": [1, 0]}), [a, b]) == both[1:]
    assert stale_statistics(fuse([a, b], [0, 1], {"head": [0.5, 0.5]}), [a, b]) == []
    assert stale_statistics(b, [a, b]) == []
    without = Network(Mlp(4, [5]), 5, 3).state_dict()
    assert stale_statistics(fuse([without, without], [0.5, 1.0]), [without]) == []


def test_statistics_that_no_training_has_moved_stay_as_they_are():
    a, b = (network(seed).state_dict() for seed in (0, 1))
    for kind in ("running_mean", "running_var", "num_batches_tracked"):
        b[f"backbone.1.{kind}"] = a[f"backbone.1.{kind}"].clone()  # of a backbone whose batch norms are frozen
    mix = fuse([a, b], [0.3, 0.7])
    assert stale_statistics(mix, [a, b]) == ["bottleneck.1"]
    assert stale_statistics(mix, [a, b], of_one=["backbone.1.running_mean"]) == ["backbone.1", "bottleneck.1"]


def test_statistics_of_a_batch_norm_that_only_the_first_has_are_estimated_anew(here):
    mixed = fused("a", "plain2", "--common", "--alpha", 0.5, "--domains", "both")
    assert "statistics of 1 batch norm layer estimated anew" in record_of("out.ckpt")["statistics"]
    assert torch.equal(mixed["bottleneck.0.weight"], state_of("a")["bottleneck.0.weight"])
    key = "bottleneck.1.running_mean"
    assert not torch.equal(mixed[key], state_of("a")[key])


def test_only_the_statistics_that_are_named_are_estimated():
    a, b = (network(seed).state_dict() for seed in (0, 1))
    backbone = fuse([a, b], [0.5, 0.5], {"backbone": [0, 1]})
    net, x = network(0), [normal(7, 4, seed=i, dtype=torch.float32) for i in range(3)]
    net.load_state_dict(backbone)
    assert estimate_statistics(net, x, ["bottleneck.1"]) == 3
    after = net.state_dict()
    assert all(torch.equal(after[key], b[key]) for key in b if key.startswith("backbone"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        seen = []
        for batch in x:  # the batch norm of the backbone uses the statistics that it has, the dropout drops
            body = net.backbone
            seen.append(net.bottleneck[0](F.dropout(body[1](body[0](batch)), 0.3)).detach())
            F.dropout(seen[-1], 0.5)
    assert_close(after["bottleneck.1.running_mean"], torch.stack([h.mean(dim=0) for h in seen]).mean(dim=0))
    assert_close(after["bottleneck.1.running_var"], torch.stack([h.var(dim=0) for h in seen]).mean(dim=0))
    assert net.bottleneck[1].momentum == 0.1
    assert not any(module.training for module in net.modules())
    with pytest.raises(ValueError, match="no rows to estimate"):
        estimate_statistics(net, [], ["bottleneck.1"])


# --- the sweep


def naive(state, name="plain"):
    """Accuracies and losses of a network without batch norm, row by row."""
    cfg = OmegaConf.load(f"{name}/config.yaml")
    data, net = build(cfg.data, "data"), build(cfg.net, "net").eval()
    net.load_state_dict(state)
    found = {}
    for prefix, role, split in (("source", "source", "val"), ("oracle_target", "target", "test")):
        domain = data.read(role)
        x, y = getattr(domain, split).x, getattr(domain, split).y
        p = net(x)[1].detach().double().softmax(dim=1)
        found[f"{prefix}_acc"] = sum(int(p[i].argmax() == y[i]) for i in range(len(y))) / len(y)
        found[f"{prefix}_loss"] = -float(sum(p[i, y[i]].log() for i in range(len(y)))) / len(y)
        found[f"{prefix}_rows"] = len(y)
    p = net(data.read("target").val.x)[1].detach().double().softmax(dim=1)
    mean = p.mean(dim=0)
    found["infomax"] = float(-(mean * mean.log()).sum() + (p * p.log()).sum(dim=1).mean())
    return found


@pytest.mark.parametrize("networks", [("plain", "plain2"), ("plain2", "plain")])  # one of them is the better end
def test_a_sweep_measures_what_a_naive_evaluation_of_each_mix_gives(here, capsys, networks):
    state = fused(*networks, "--sweep", "--points", 5)
    out = capsys.readouterr().out
    table = rows()
    assert [row["alpha"] for row in table] == [0, 0.25, 0.5, 0.75, 1]
    a, b = map(state_of, networks)
    for row in table:
        expected = naive(fuse([a, b], [row["alpha"], 1 - row["alpha"]]))
        for key, value in expected.items():
            assert row[key] == pytest.approx(value, abs=1e-6), key
    assert set(table[0]) == {"alpha", "infomax_rows", *expected}
    second, first = table[0]["source_loss"], table[-1]["source_loss"]
    heights = [row["source_loss"] - row["alpha"] * first - (1 - row["alpha"]) * second for row in table]
    said = f"{max(heights):.4f} at alpha" if max(heights) > 0 else "none"
    assert f"barrier, source validation rows: {said}" in out
    chosen = max(table, key=lambda row: (row["source_acc"], -row["source_loss"]))["alpha"]
    assert record_of("out.ckpt")["shares"] == [chosen, 1 - chosen]
    assert_same(state, fuse([a, b], [chosen, 1 - chosen]))
    assert (here / "out.png").stat().st_size > 10_000


def test_a_sweep_with_batch_norm_measures_what_is_written_for_each_alpha(here):
    fused("a", "b", "--sweep", "--points", 3)
    table = rows()
    for row in table:
        state = fused("a", "b", "--alpha", row["alpha"])
        assert row["source_acc"] == pytest.approx(naive(state, "a")["source_acc"])
        assert row["source_loss"] == pytest.approx(naive(state, "a")["source_loss"], rel=1e-5)


@pytest.mark.parametrize("choice", ["source", "labeled", "infomax", "oracle"])
def test_permuted_target_labels_move_the_oracles_choice_only(here, monkeypatch, choice, capsys):
    words = ("a", "b", "--sweep", "--points", 5, "--choose", choice)
    state, before = fused(*words), rows()
    said = record_of("out.ckpt")
    draw = Toy._draw

    def permuted(self, role, split):
        drawn = draw(self, role, split)
        hidden = split == "test" or choice != "labeled"  # "labeled" may see some of the training labels
        if role == "target" and hidden:
            drawn.y = 1 - drawn.y
        return drawn

    monkeypatch.setattr(Toy, "_draw", permuted)
    monkeypatch.setattr(Toy, "hashes", lambda self: {})
    after_state, after = fused(*words), rows()
    assert [row["oracle_target_acc"] for row in after] == pytest.approx(
        [1 - row["oracle_target_acc"] for row in before]
    )
    if choice == "oracle":
        assert record_of("out.ckpt")["score"] != said["score"]
    else:
        assert_same(after_state, state)
        assert record_of("out.ckpt") == said
    assert said["target_labels"] == ([choice] if choice in ("labeled", "oracle") else [])
    assert said["chosen_by"] == choice
    assert f"chosen by {choice}" in capsys.readouterr().out
    assert ("labeled_acc" in before[0]) == (choice == "labeled")
    assert not any(key.startswith("target") for key in before[0])


def test_labels_choose_by_the_labelled_rows_of_the_run(here):
    fused("plain", "plain2", "--sweep", "--points", 3, "--choose", "labeled")
    data = build(OmegaConf.load("plain/config.yaml").data, "data")
    few = data.train_set("labeled")
    net = open_run("plain").net
    for row in rows():
        net.load_state_dict(fuse([state_of("plain"), state_of("plain2")], [row["alpha"], 1 - row["alpha"]]))
        logits = net(few.rows.x[few.chosen])[1].detach()
        assert row["labeled_acc"] == pytest.approx(float((logits.argmax(dim=1) == few.y).double().mean()))
        assert row["labeled_loss"] == pytest.approx(float(F.cross_entropy(logits, few.y)), rel=1e-5)
        assert row["labeled_rows"] == 10


def test_a_target_without_labels_can_be_swept_but_not_by_an_oracle(here, monkeypatch, capsys):
    draw = Toy._draw

    def unlabelled(self, role, split):
        drawn = draw(self, role, split)
        if role == "target":
            drawn.y = torch.full_like(drawn.y, -1)
        return drawn

    monkeypatch.setattr(Toy, "_draw", unlabelled)
    monkeypatch.setattr(Toy, "hashes", lambda self: {})
    fused("plain", "plain2", "--sweep", "--points", 3)
    assert "barrier, oracle: target test rows: no labels" in capsys.readouterr().out
    assert rows()[0]["oracle_target_acc"] is None
    assert call("fuse", "plain", "plain2", "--sweep", "--choose", "oracle", "--out", "o.ckpt") == 1
    assert "--choose oracle: there are no labels to choose by" in capsys.readouterr().err


def test_the_barrier_is_the_largest_rise_above_the_line():
    points = [{"alpha": a, "loss": v} for a, v in zip(alphas(5), (1.0, 2.5, 2.0, 1.0, 3.0), strict=True)]
    assert barrier(points, "loss") == (pytest.approx(1.0), 0.25)  # the line there is 1.5
    straight = [{"alpha": a, "loss": 1 - a} for a in alphas(3)]
    assert barrier(straight, "loss")[0] == 0
    assert barrier([*straight[:2], {"alpha": 1.0, "loss": None}], "loss") is None


def test_the_best_point_has_the_highest_score_then_the_lowest_loss():
    points = [(0.5, 1.0), (0.9, 2.0), (0.9, 1.0), (0.9, 1.0), (float("nan"), 0.0)]
    assert best([{"source_acc": a, "source_loss": loss} for a, loss in points], "source") == 2
    with pytest.raises(ValueError, match="at least 2"):
        alphas(1)


# --- networks that fit only in part


def write(path, change, source="plain2"):
    checkpoint = load_checkpoint(f"{source}/checkpoints/selected.ckpt")
    change(checkpoint["state_dict"])
    torch.save(checkpoint, path)


def test_what_is_common_is_mixed_and_the_rest_reported(here, capsys):
    def change(state):
        del state["net.head.bias"]
        state["net.extra.weight"] = torch.zeros(2)

    write("part.ckpt", change)
    assert call("fuse", "plain", "part.ckpt", "--out", "out.ckpt") == 1
    message = capsys.readouterr().err
    assert "network 2 does not fit network 1: missing (1): head.bias; unexpected (1): extra.weight" in message
    state = fused("plain", "part.ckpt", "--common", "--alpha", 0.3)
    out = capsys.readouterr().out
    assert "common: 5 of 6 entries of plain are in all networks, and mixed" in out
    assert "kept from plain, missing in another (1): head.bias" in out
    assert "left out, not in plain (1): extra.weight" in out
    expected = fuse([state_of("plain"), state_of("plain2")], [0.3, 0.7])
    assert_same(state, expected | {"head.bias": state_of("plain")["head.bias"]})
    assert record_of("out.ckpt")["kept"] == ["head.bias"]


def test_a_soup_of_what_is_common_keeps_the_rest_of_the_first(here):
    write("part.ckpt", lambda state: state.pop("net.head.bias"))
    ways = (("--soup", "uniform"), ("--soup", "greedy"), ("--base", "plain", "--scale", "0.3"))
    nearly = ("plain", "part.ckpt", "plain", "--alpha", "0.3333333,0.3333333,0.3333333")  # a little less than 1
    for words in (nearly, *(("plain", "part.ckpt", *way) for way in ways)):
        state = fused(*words, "--common")
        assert torch.equal(state["head.bias"], state_of("plain")["head.bias"])


# --- what is wrong


def halves(state):
    for key, value in state.items():
        state[key] = value.half() if value.is_floating_point() else value


def wrong_files(folder):
    write("half.ckpt", halves)
    write("wide.ckpt", lambda state: state.update({"net.head.weight": torch.zeros(2, 7)}))
    write(
        "other.ckpt", lambda state: [state.pop(key) for key in list(state)] and state.update({"net.z": torch.ones(1)})
    )
    write("headless.ckpt", lambda state: [state.pop(key) for key in list(state) if key.startswith("net.")])
    write("alone.ckpt", lambda state: None, source="a")
    torch.save(nn.Linear(2, 2), "pickled.ckpt")
    torch.save({"weights": 1}, "list.ckpt")
    (folder / "text.ckpt").write_text("no checkpoint")
    results = json.loads((folder / "b/results.json").read_text())
    (folder / "b/results.json").write_text(json.dumps({**results, "status": "failed"}))
    shutil.copytree("plain2", "renamed")
    recorded = json.loads((folder / "renamed/data.json").read_text())
    (folder / "renamed/data.json").write_text(json.dumps({**recorded, "classes": ["1", "0"]}))


WRONG = [
    (("plain", "nowhere"), "there is no run and no checkpoint at nowhere"),
    (("plain", "."), r"\. is not the folder of a run: .*such as"),
    (("plain", "b"), "the run b did not finish"),
    (("plain", "pickled.ckpt"), "pickled.ckpt is damaged or holds more than tensors and plain values"),
    (("plain", "text.ckpt"), "text.ckpt is damaged"),
    (("plain", "list.ckpt"), "list.ckpt is not a checkpoint of a run: it has no 'state_dict'"),
    (("plain", "headless.ckpt"), "headless.ckpt holds no network: none of its names begins with 'net.'"),
    (("plain", "half.ckpt"), "is torch.float16 in network 2, but torch.float32 in network 1"),
    (("plain", "wide.ckpt"), r"other shape \(1\): head.weight \(2, 7\) instead of \(2, 16\)"),
    (("plain", "wide.ckpt", "--common"), r"other shape \(1\): head.weight \(2, 7\) instead of \(2, 16\)"),
    (("plain", "other.ckpt", "--common"), "the networks have nothing in common"),
    (("plain", "a"), r"network 2 does not fit network 1: unexpected \(7\): bottleneck"),
    (("plain", "blobs"), r"the classes of blobs are 0, 1, 2 \(3\), but those of plain are 0, 1 \(2\)"),
    (("plain", "renamed"), r"the classes of renamed are 1, 0 \(2\), but those of plain are 0, 1"),
    (("plain", "plain2", "--run", "blobs"), "the classes of plain are 0, 1"),
    (("plain", "plain2", "--group", "hed=1"), "no parameter lies below 'hed'; there are backbone, head"),
    (("alone.ckpt", "alone2.ckpt"), "no checkpoint lies in the folder of a run.*--run RUN names one"),
    (("plain", "plain2", "--run", "gone"), "gone has no config.yaml"),
    (("plain", "plain2", "--sweep", "--batches", "0"), "--batches 0 must be at least 1"),
    (("plain", "plain2", "--out", "gone/out.ckpt"), "--out gone/out.ckpt: there is no folder gone"),
    (("plain", "alone.ckpt", "--out", "alone.ckpt"), "--out alone.ckpt is one of the networks"),
    (("plain", "plain2", "--alpha", "nan"), "--alpha nan: expected a number"),
    (("plain", "plain2", "--alpha", "x"), "--alpha x: expected a number"),
    (("plain", "plain2", "--alpha", "0.5,0.6"), "--alpha 0.5,0.6: expected .*that add up to 1"),
    (("plain", "plain2", "a"), "3 networks: give --alpha a share for each, --soup or --base"),
    (("plain", "plain2", "a", "--alpha", "0.5"), "--alpha 0.5: expected 3 numbers that add up to 1"),
    (("plain",), "one network is no mix"),
    (("plain", "plain2", "--group", "head"), "--group head without =A: expected"),
    (("plain", "plain2", "--group", "head=1", "--group", "head=0"), "one of them twice"),
    (("plain", "plain2", "--group", "head=1", "--soup", "uniform"), "--group is not for --soup"),
    (("plain", "plain2", "--sweep", "--alpha", "0.5"), "--alpha is not for --sweep"),
    (("plain", "plain2", "--sweep", "--points", "1"), "a sweep of 1 points"),
    (("plain", "plain2", "--points", "5"), "--points is for --sweep"),
    (("plain", "plain2", "--choose", "source"), "--choose is for --sweep and --soup greedy"),
    (("plain", "plain2", "--soup", "uniform", "--choose", "source"), "--choose is for"),
    (("plain", "plain2", "--sweep", "--soup", "uniform"), "--sweep and --soup are different ways"),
    (("plain", "plain2", "a", "--sweep"), "--sweep is for two networks, not 3"),
    (("plain", "--base", "plain2"), "--base and --scale go together"),
    (("plain", "--base", "plain2", "--scale", "inf"), "--scale inf is no number"),
    (("plain", "plain2", "--out", "out.pt"), "--out out.pt must end in .ckpt"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_is_wrong_is_named_and_nothing_written(here, words, message, capfd):
    wrong_files(here)
    write("alone2.ckpt", lambda state: None, source="c")
    before = sorted(here.rglob("*"))
    capfd.readouterr()
    assert call("fuse", *([] if "--out" in words else ["--out", "out.ckpt"]), *words) in (1, 2)
    out, err = capfd.readouterr()
    assert err.count("\n") == 1, err
    assert re.search(f"error: .*{message}", err), err
    assert out == "" or "--common" in words
    assert sorted(here.rglob("*")) == before


def test_a_checkpoint_that_lies_elsewhere_is_mixed_on_the_data_of_the_run_that_is_named(here):
    expected = fused("a", "b")
    for name in "ab":
        shutil.copy(f"{name}/checkpoints/selected.ckpt", f"{name}.ckpt")
    assert_same(fused("a.ckpt", "b.ckpt", "--run", "a"), expected)
    assert_same(fused("a.ckpt", "b.ckpt", "--keep-statistics"), fused("a", "b", "--keep-statistics"))


def test_the_run_of_its_source_stage_is_that_of_the_checkpoint(here):
    fused("c/pretrain/checkpoints/last.ckpt", "a", "--batches", 2)
    assert record_of("out.ckpt")["run"].endswith("/c")


def test_a_disk_that_is_full_leaves_nothing(here, monkeypatch, capsys):
    def full(content, path):
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", full)
    before = sorted(here.rglob("*"))
    assert call("fuse", "plain", "plain2", "--out", "out.ckpt") == 1
    assert capsys.readouterr().err == "error: no space left\n"
    assert sorted(here.rglob("*")) == before


def test_states_on_two_devices_are_named():
    state = {"w": torch.zeros(2)}
    with pytest.raises(ValueError, match="w is meta in network 2, but cpu in network 1"):
        fuse([state, {"w": torch.zeros(2, device="meta")}], [0.5, 0.5])


def test_what_the_trial_of_a_run_measures_leaves_the_random_numbers_alone(here):
    before = torch.get_rng_state()
    Trial([here / "a"], batches=2).refreshed(fuse([state_of("a"), state_of("b")], [0.5, 0.5]), ["bottleneck.1"])
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_of_one_frozen_backbone_are_tried_on_its_cached_features(tmp_path, monkeypatch):
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate("ab"):
        write_domain(tmp_path / name, {"cat": 8, "dog": 8}, seed=seed)
    words = ("data=folder", f"data.source={tmp_path / 'a'}", f"data.target={tmp_path / 'b'}", "net=cifar_resnet20")
    words = (*words, "net.freeze_backbone=true", "data.cache_features=true", "trainer=smoke", "figures=none")
    words = (*words, "data.batch_size={source: 8, target: 8}", "method=mmd")
    run(config(*words, run_dir=tmp_path / "one"))
    run(config(*words, f"init_from={tmp_path / 'one/checkpoints/last.ckpt'}", "seed=1", run_dir=tmp_path / "two"))
    given = [read_network(str(tmp_path / name)) for name in ("one", "two")]
    fusing = Fusing([network.state for network in given], [tmp_path / "one"])
    cached, plain = fusing.trial, Trial([tmp_path / "one"])
    encoded: list[int] = []
    cached.net.backbone.register_forward_hook(lambda module, given, output: encoded.append(len(output)))
    mixed = fuse(fusing.states, [0.5, 0.5])
    measured = cached.measure(mixed, 0.5, "source")
    assert set(encoded) == {1}  # to see how wide it is; all rows are in the cache
    assert measured == pytest.approx(plain.measure(mixed, 0.5, "source"), rel=1e-5)
    other = {key: value + 1 if value.is_floating_point() else value for key, value in given[0].state.items()}
    assert not Fusing([given[0].state, other], [tmp_path / "one"]).trial.to_cache
