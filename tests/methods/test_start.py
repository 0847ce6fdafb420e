"""Runs that start from another run's network: what is taken, what is new, and what is forgotten of the source."""

import json

import numpy as np
import pytest
import torch
from conftest import config, everything, normal

from da.assemble import assemble
from da.models.state import load_checkpoint, load_network
from da.run import run
from da.use import open_run

SHORT = ("trainer=smoke", "trainer.limit_train_batches=6", "trainer.limit_test_batches=1.0", "figures=none")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A source of three classes, a target of the same, a target of four others, and a run on the source."""
    folder = tmp_path_factory.mktemp("start")
    for seed, (name, c, word) in enumerate((("a", 3, "a"), ("same", 3, "a"), ("others", 4, "b"))):
        y = np.arange(120) % c
        x = normal(120, 6, seed=seed).numpy() + 2 * np.eye(6)[y + seed]
        np.savez(folder / f"{name}.npz", x=x, y=[f"{word}{k}" for k in y])
    words = (*data(folder, "same"), *SHORT, "optimizer.lr=0.1", "trainer.max_epochs=10", "method=source_only")
    run(config(*words, run_dir=folder / "run"))
    return folder


def data(folder, target, *words):
    files = f"data.source={folder}/a.npz", f"data.target={folder}/{target}.npz"
    return ("data=tensors", "net=mlp", *files, "data.batch_size.labeled=12", "data.steps_per_epoch=6", *words)


def checkpoint(folder):
    return folder / "run/checkpoints/last.ckpt"


def accuracy(net, rows, role="source"):
    with torch.no_grad():
        x = everything(rows)
        return float((net.logits_of(role, net.eval()(x.x)[1]).argmax(dim=1) == x.y).float().mean())


def test_one_head_becomes_the_sources_and_the_targets_is_new(files, capsys):
    words = data(files, "others", "data.label_sets=separate", f"init_from={checkpoint(files)}")
    torch.manual_seed(0)
    given, net = assemble(config(*words))
    torch.manual_seed(0)
    _, fresh = assemble(config(*words[:-1]))
    saved = load_checkpoint(checkpoint(files))["state_dict"]
    assert torch.equal(net.head.source.weight, saved["net.head.weight"])
    assert torch.equal(next(net.backbone.parameters()), next(v for k, v in saved.items() if "backbone" in k))
    assert torch.equal(net.head.target.weight, fresh.head.target.weight)
    assert net.head.target.out_features == 4
    assert f"head.target of the network not taken from {checkpoint(files)}" in given.notices


def test_only_the_parts_that_are_named_are_taken(files):
    words = data(files, "same", f"init_from={checkpoint(files)}", "init_parts=[backbone]")
    torch.manual_seed(0)
    given, net = assemble(config(*words))
    torch.manual_seed(0)
    _, fresh = assemble(config(*words[:-2]))
    saved = load_checkpoint(checkpoint(files))["state_dict"]
    assert torch.equal(net.head.weight, fresh.head.weight)
    for name, value in net.backbone.state_dict().items():
        assert torch.equal(value, saved[f"net.backbone.{name}"])
    assert any(notice.startswith("head.bias, head.weight of the network") for notice in given.notices)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("data.label_sets=separate", "init_parts=[backbone]"),
            "are parts of a checkpoint: give init_from too",
        ),
        (("data.label_sets=separate", "init_parts=[neck]", "init_from=CHECKPOINT"), "the network has no part 'neck'"),
        (("init_parts=backbone", "init_from=CHECKPOINT"), "expected list or null"),
        (("data.label_sets=separate", "net/head@net.head=bridged"), "gives each domain a linear head"),
        (
            ("data.label_sets=separate", "method=shot"),
            "Shot compares both domains' classes|Shot needs the same classes",
        ),
        (("data.label_sets=separate", "method=cdan"), "the term 'adversarial' compares both domains' classes"),
    ],
)
def test_what_does_not_fit_is_refused(files, words, message, tmp_path):
    words = [word.replace("CHECKPOINT", str(checkpoint(files))) for word in words]
    words = [f"+{word}" if word.startswith("net/head") else word for word in words]
    with pytest.raises((ValueError, TypeError), match=message):
        run(config(*data(files, "others"), *SHORT, *words, run_dir=tmp_path))


def test_what_is_forgotten_is_the_source_accuracy_before_less_that_after(files, tmp_path):
    words = (*data(files, "same"), *SHORT, "method=labeled_only", f"init_from={checkpoint(files)}", "optimizer.lr=0.2")
    results = run(config(*words, run_dir=tmp_path))
    given, net = assemble(config(*words[:-2], "optimizer.lr=0.2"))
    rows = given.eval_set("source", "test")
    load_network(net, checkpoint(files))
    before = accuracy(net, rows)
    load_network(net, tmp_path / "checkpoints/last.ckpt")
    after = accuracy(net, rows)
    assert before > 0.8
    assert results["forgetting"]["before"] == pytest.approx(before)
    assert results["forgetting"]["last"] == pytest.approx(before - after)
    assert results["test"]["source_acc"]["last"] == pytest.approx(after)
    assert results["forgetting"]["last"] != 0


def test_nothing_is_forgotten_where_nothing_of_it_trains(files, tmp_path):
    words = data(files, "others", "data.label_sets=separate", "method=labeled_only", f"init_from={checkpoint(files)}")
    results = run(config(*words, *SHORT, "+net.freeze_backbone=true", run_dir=tmp_path))
    assert results["forgetting"] == {"before": results["forgetting"]["before"], "last": 0.0, "selected": 0.0}
    assert results["target_labels"] == ["labeled"]
    saved, start = (
        load_checkpoint(path)["state_dict"] for path in (tmp_path / "checkpoints/last.ckpt", checkpoint(files))
    )
    assert torch.equal(saved["net.head.source.weight"], start["net.head.weight"])
    assert json.loads((tmp_path / "data.json").read_text())["classes"] == ["b0", "b1", "b2", "b3"]
    used = open_run(tmp_path)
    assert used.data.classes_of("source") == ("a0", "a1", "a2")
    assert used.net.head.target.out_features == 4


def test_a_run_that_starts_untrained_has_nothing_to_forget(files):
    assert json.loads((files / "run/results.json").read_text())["forgetting"] is None


def test_both_heads_learn_from_both_domains(files, tmp_path):
    """L_S + lambda L_T with a head each: multi-task learning."""
    words = data(files, "others", "data.label_sets=separate", "method=finetune", "optimizer.lr=0.1", *SHORT)
    results = run(config(*words, "trainer.max_epochs=10", run_dir=tmp_path))
    assert results["test"]["source_acc"]["last"] > 0.7
    assert results["test"]["target_acc"]["last"] > 0.5
