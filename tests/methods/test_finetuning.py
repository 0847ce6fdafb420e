"""Terms for fine-tuning in whole runs: on classes of their own, acting, and resumed without learning anew."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import config, normal, power_cut

from da.methods.base import JointMethod
from da.models.network import Network
from da.models.state import load_checkpoint
from da.run import run
from da.terms.co_tuning import CoTuning

TERMS = ["lwf", "co_tuning", "bi_tuning"]
SHORT = ("trainer=smoke", "trainer.limit_train_batches=6", "trainer.max_epochs=2", "figures=none", "monitor=none")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A source of three classes and a target of four others, and the checkpoint of a run on that source."""
    folder = tmp_path_factory.mktemp("source")
    for seed, (name, c) in enumerate((("a", 3), ("b", 4))):
        y = np.arange(120) % c
        x = normal(120, 6, seed=seed).numpy() + 2 * np.eye(6)[y + seed]
        np.savez(folder / f"{name}.npz", x=x, y=[f"{name}{k}" for k in y])
    options = (
        "data=tensors",
        "net=mlp",
        f"data.source={folder}/a.npz",
        f"data.target={folder}/b.npz",
        "data.label_sets=separate",
        "data.batch_size.labeled=16",
        "data.steps_per_epoch=6",
        *SHORT,
    )
    run(config(*options, "method=source_only", "optimizer.lr=0.1", "trainer.max_epochs=10", run_dir=folder / "run"))
    return (*options, f"init_from={folder}/run/checkpoints/last.ckpt", "method=labeled_only")


def train(folder, *overrides):
    results = run(config(*overrides, run_dir=folder))
    return results, load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]


def difference(a, b, part=""):
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a if k in b and k.startswith(part))


@pytest.mark.parametrize("name", TERMS)
def test_lambda_moves_the_features_where_each_domain_has_its_own_classes(name, start, tmp_path):
    runs = {}
    for weight in (0.0, 1.0):
        runs[weight] = train(tmp_path / str(weight), *start, f"term={name}", f"method.weights.{name}.value={weight}")
    _, plain = train(tmp_path / "plain", *start)
    for part in (
        "net.backbone",
        "net.bottleneck",
        "net.head.target",
    ):  # head.source: weight decay is on what a term reads
        assert difference({part: torch.zeros(1), **plain}, runs[0.0][1] | {part: torch.zeros(1)}, part) == 0.0
    assert difference(runs[0.0][1], runs[1.0][1], "net.backbone") > 1e-6
    results = runs[1.0][0]
    assert set(results["forgetting"]) == {"before", "last", "selected"}
    assert "source" not in results["target_labels"]
    assert "labeled" in results["target_labels"]


def test_lwf_keeps_the_old_classifiers_answers(start, tmp_path):
    """On the rows that it sees they are nearer to those of the start than without it."""
    loss = {}
    for weight in (0.0, 3.0):
        overrides = (*start, "term=lwf", f"method.weights.lwf.value={weight}", "optimizer.lr=0.05")
        train(tmp_path / str(weight), *overrides, "trainer.log_every_n_steps=1")
        lines = (tmp_path / str(weight) / "metrics.csv").read_text().splitlines()
        column = lines[0].split(",").index("train/lwf")
        loss[weight] = [float(value) for line in lines[1:] if (value := line.split(",")[column])][-1]
    assert 0 < loss[3.0] < 0.5 * loss[0.0]


@pytest.mark.parametrize("name", TERMS)
def test_a_resumed_run_equals_one_never_stopped_and_does_not_fit_again(name, start, tmp_path, monkeypatch):
    fitted = []
    fit = CoTuning.fit
    monkeypatch.setattr(CoTuning, "fit", lambda self, rows: fitted.append(len(rows["labeled"].y)) or fit(self, rows))
    overrides = (*start, f"term={name}")
    _, whole = train(tmp_path / "whole", *overrides)
    with power_cut(epoch=1, batch=1):
        train(tmp_path / "cut", *overrides)
    assert json.loads((tmp_path / "cut/results.json").read_text())["status"] == "failed"
    _, resumed = train(tmp_path / "cut", *overrides, f"ckpt_path={tmp_path / 'cut/checkpoints/last.ckpt'}")
    assert difference(whole, resumed) == 0.0
    assert fitted == ([20, 20] if name == "co_tuning" else [])  # four classes, five labels each: whole, and cut


def test_the_network_does_not_run_on_the_second_view_and_the_key_network_on_nothing_else(start, tmp_path, monkeypatch):
    steps, seen = [], []
    forward, step = Network.forward, JointMethod.training_step

    def watched(self, batch, batch_idx):
        seen.clear()
        loss = step(self, batch, batch_idx)
        steps.append((batch, list(seen)))
        return loss

    monkeypatch.setattr(Network, "forward", lambda net, x: seen.append((net.training, x)) or forward(net, x))
    monkeypatch.setattr(JointMethod, "training_step", watched)
    train(tmp_path, *start, "term=bi_tuning", "trainer.max_epochs=1")
    assert len(steps) == 6
    for batch, ((training, x), (key_training, key_x)) in steps:
        assert (training, key_training) == (True, False)
        assert torch.equal(x, batch["labeled"].x)
        assert torch.equal(key_x, batch["labeled_twin"].x)


@pytest.mark.ddp
def test_on_two_processes_all_rows_are_fitted_on_and_the_network_is_that_of_one(start, tmp_path):
    options = [word for word in start if not word.startswith("trainer")]
    words = [*options, "term=[lwf,co_tuning,bi_tuning]", "trainer.max_epochs=1", "net.backbone.dropout=0.0"]
    _, one = train(tmp_path / "one", *words, "trainer=cpu")
    command = [sys.executable, "-m", "da", "train", *words, "trainer=ddp_cpu", f"run_dir={tmp_path / 'two'}"]
    subprocess.run(command, check=True, capture_output=True)
    two = load_checkpoint(tmp_path / "two/checkpoints/last.ckpt")["state_dict"]
    assert json.loads((tmp_path / "two/results.json").read_text())["world_size"] == 2
    assert difference(one, two, "objective.terms.co_tuning") < 1e-6
    assert difference(one, two) < 1e-6  # float32, and the sums of the two processes in another order


def test_the_relation_is_learned_from_the_start_and_from_the_sources_head(start, tmp_path):
    _, state = train(tmp_path, *start, "term=co_tuning", "method.terms.co_tuning.relation=direct")
    relation = state["objective.terms.co_tuning.relation"]
    assert relation.shape == (4, 3)
    torch.testing.assert_close(relation.sum(dim=1), torch.ones(4))
    assert relation[0].argmax() == 1  # b0 lies where a1 does
