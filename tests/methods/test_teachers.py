"""method=teachers: learns from networks of other architectures, leaves them alone, refreshes and resumes exactly."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from conftest import call, config, power_cut
from processes import run_on
from saved_runs import WIDE, change, write_run
from torch.testing import assert_close

from da.build import build
from da.data.rows import Draw
from da.methods.teachers import Teachers
from da.models.saved import read_run, saved_network
from da.models.state import load_checkpoint
from da.run import run

TOY = ("data=toy", "net=mlp", "figures=none")
SHORT = (*TOY, "method=teachers", "trainer=smoke", "trainer.limit_train_batches=6", "trainer.max_epochs=3")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two networks of different architecture that have learned the source."""
    folder, found = tmp_path_factory.mktemp("runs"), []
    for name, more in (("a", ()), ("b", WIDE)):
        cfg = config(*TOY, *more, "method=source_only", "optimizer.lr=0.1", "data.rotation=10", run_dir=folder / name)
        cfg.trainer.max_epochs = 4
        run(cfg)
        found.append(str(folder / name))
    return found


def teach(folder, runs, *overrides):
    """Train a student; return its results and its state."""
    results = run(config(*SHORT, f"method.teachers.runs=[{','.join(runs)}]", *overrides, run_dir=folder))
    return results, load_checkpoint(Path(folder) / "checkpoints/last.ckpt")


def target_rows(n=500):
    data = build(config(*TOY).data, "data")
    return data.eval_set("target", "train")[Draw(torch.arange(n), 0)].x


def test_a_student_says_what_two_teachers_of_different_architecture_say(runs, tmp_path):
    overrides = ("trainer.limit_train_batches=60", "optimizer.lr=0.1", "data.rotation=10")
    states = [teach(tmp_path / w, runs, *overrides, f"method.weights.distill.value={w}")[1] for w in ("0.0", "1.0")]
    data = build(config(*TOY, "data.rotation=10").data, "data")
    x = data.eval_set("target", "test")[Draw(torch.arange(500), 0)].x
    with torch.no_grad():
        said = torch.stack([saved_network(read_run(folder))(x)[1].softmax(1) for folder in runs]).mean(0).argmax(1)
        agree = []
        for checkpoint in states:
            net = build(config(*TOY).net, "net").eval()
            net.load_state_dict({k[4:]: v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")})
            agree.append(float((net(x)[1].argmax(1) == said).float().mean()))
    assert agree[0] < 0.9 < agree[1]


def digest(folder):
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def test_the_teachers_stay_as_they_are_and_out_of_the_checkpoint(runs, tmp_path, monkeypatch):
    before, states = [digest(folder) for folder in runs], []

    def keep(self):
        states.append([{k: v.clone() for k, v in m.module.state_dict().items()} for m in self.teachers.members])

    monkeypatch.setattr(Teachers, "on_train_start", keep)
    monkeypatch.setattr(Teachers, "on_train_end", keep)
    _, checkpoint = teach(tmp_path, runs, "method.refresh=1", "method.teachers.weigh_by=infomax")
    assert_close(states[0], states[1], rtol=0, atol=0)
    assert [digest(folder) for folder in runs] == before
    assert all(key.startswith("net.") for key in checkpoint["state_dict"])
    assert checkpoint["teachers"]["q"].shape == (1000, 2)
    assert "teachers" not in load_checkpoint(tmp_path / "checkpoints/selected.ckpt")


def test_what_is_logged(runs, tmp_path):
    teach(tmp_path, runs, "method.teachers.threshold=0.9", "method.teachers.weigh_by=entropy")
    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    found = {key: {row[key] for row in rows} - {""} for key in rows[0]}
    with torch.no_grad():
        p = torch.stack([saved_network(read_run(folder))(target_rows(1000))[1].softmax(1) for folder in runs])
    (agreement,) = map(float, found["train/distill/agreement"])
    assert agreement == pytest.approx(float((p[0].argmax(1) == p[1].argmax(1)).float().mean()))
    (kept,) = map(float, found["train/distill/kept"])
    assert 0 < kept < 1
    weights = [float(*found[f"train/distill/weight_{k}"]) for k in (1, 2)]
    assert sum(weights) == pytest.approx(1)


def test_the_source_stays_closed_while_it_trains(runs, tmp_path, monkeypatch):
    from da.data.toy import Toy

    opened, read, seen = [], Toy.read, []
    monkeypatch.setattr(Toy, "read", lambda self, role: opened.append(role) or read(self, role))
    monkeypatch.setattr(Teachers, "on_train_end", lambda self: seen.extend(opened))
    results, _ = teach(tmp_path, runs)
    assert seen == ["target"]
    assert results["target_labels"] == []


@pytest.mark.parametrize("refresh", [0, 1, 2])
def test_a_run_that_was_cut_goes_on_with_the_labels_it_had(runs, tmp_path, refresh):
    overrides = (f"method.refresh={refresh}", "net.backbone.dropout=0.3", "trainer.max_epochs=4")
    _, whole = teach(tmp_path / "whole", runs, *overrides)

    with power_cut(epoch=3, batch=2):  # in the middle of an epoch, after a refresh at epoch 2
        teach(tmp_path / "cut", runs, *overrides)
    _, resumed = teach(tmp_path / "cut", runs, *overrides, f"ckpt_path={tmp_path / 'cut/checkpoints/last.ckpt'}")
    assert_close(resumed["state_dict"], whole["state_dict"], rtol=0, atol=0)
    assert_close(resumed["teachers"], whole["teachers"], rtol=0, atol=0)


def test_a_student_that_joins_changes_the_labels(runs, tmp_path):
    labels = [teach(tmp_path / r, runs, f"method.refresh={r}")[1]["teachers"]["q"] for r in "012"]
    assert not labels[0].equal(labels[1])
    assert not labels[1].equal(labels[2])


def test_no_labelled_row_is_an_error(runs, tmp_path):
    with pytest.raises(ValueError, match=r"combine=extension with threshold=1.0 labels none of the 1000 target rows"):
        teach(tmp_path, runs, "method.teachers.threshold=1.0")


def test_a_refresh_is_a_number_of_epochs(tmp_path):
    with pytest.raises(ValueError, match="refresh=-1 must be a number of epochs"):
        teach(tmp_path, [], "method.refresh=-1")


def test_without_runs_the_network_teaches_itself_what_it_is_sure_of(runs, tmp_path):
    start = f"init_from={runs[0]}/checkpoints/last.ckpt"
    results, checkpoint = teach(tmp_path, [], start, "method.labels=hard", "method.teachers.threshold=0.8")
    assert results["status"] == "complete"
    kept = checkpoint["teachers"]["q"].sum(1)
    assert set(kept.tolist()) == {0.0, 1.0}
    assert {key.partition(".")[0] for key in checkpoint["state_dict"]} == {"net", "teachers"}


def test_another_class_set_or_an_unfinished_run_is_one_line_on_the_command_line(runs, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = write_run(tmp_path / "other", "data=toy", "net=mlp", "data.shape=blobs", "data.num_classes=3")
    undone = write_run(tmp_path / "undone", "data=toy", "net=mlp")
    results = json.loads((Path(undone) / "results.json").read_text())
    (Path(undone) / "results.json").write_text(json.dumps(results | {"status": "running"}))
    renamed = write_run(tmp_path / "renamed", "data=toy", "net=mlp")
    recorded = json.loads((Path(renamed) / "data.json").read_text())
    (Path(renamed) / "data.json").write_text(json.dumps(recorded | {"classes": ["up", "down"]}))
    strange = write_run(tmp_path / "strange", "data=toy", "net=mlp")
    change(strange, net__input={"features": 2, "colour": "red"})
    for folder, message in (
        (other, "tells 3 classes apart, but the student 2"),
        (undone, "did not finish (status 'running')"),
        (renamed, "its classes are up, down, but those of the data are 0, 1"),
        (strange, "does not read the student's rows"),
        ("nowhere", "there is no folder nowhere"),
    ):
        words = (*SHORT, f"method.teachers.runs=[{runs[0]},{folder}]", f"run_dir={tmp_path / 'student'}", "force=true")
        assert call("train", *words) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line


@pytest.mark.ddp
def test_two_processes_train_the_weights_of_one(runs, tmp_path):
    normed = [runs[1], write_run(tmp_path / "c", "data=toy", "net=mlp", *WIDE, "net.backbone.dims=[4,8]", seed=1)]
    still = "net.bottleneck={_target_: da.models.network.Bottleneck, _partial_: true, dropout: 0.0}"
    states = []
    for world, trainer in ((1, "cpu"), (2, "ddp_cpu")):
        chosen = (f"trainer={trainer}", "trainer.max_epochs=2", "data.steps_per_epoch=6", still)
        asked = (f"method.teachers.runs=[{','.join(normed)}]", "method.teachers.weigh_by=similarity")
        words = (*TOY, "method=teachers", *asked, "method.refresh=1", *chosen)
        run_on(world, config(*words, run_dir=tmp_path / trainer))
        states.append(load_checkpoint(tmp_path / trainer / "checkpoints/last.ckpt"))
    assert_close(states[1]["state_dict"], states[0]["state_dict"], atol=1e-5, rtol=1e-4)
    assert_close(states[1]["teachers"], states[0]["teachers"], atol=1e-5, rtol=1e-4)
