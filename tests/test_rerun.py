"""`da rerun` trains a run again from its folder alone, and says whether it is the same."""

import json
import shutil

import pytest
import torch
from conftest import TOY, call, config

from da.models.state import load_checkpoint
from da.rerun import main
from da.run import run


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done")
    run(config(*TOY, "method=dann", "net.backbone.dropout=0.3", run_dir=folder))
    return folder


def test_a_run_again_has_the_same_weights(done, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(done)]) == 0
    said = capsys.readouterr().out
    assert "weights: the same to the last bit" in said
    assert "differs" not in said
    hashes = {
        json.loads((folder / "results.json").read_text())["config_hash"]
        for folder in (done, tmp_path / "rerun" / done.name)
    }
    assert len(hashes) == 1


def test_what_differs_is_said(done, tmp_path, capsys):
    other = shutil.copytree(done, tmp_path / "other")
    checkpoint = load_checkpoint(other / "checkpoints/last.ckpt")
    first = next(key for key, value in checkpoint["state_dict"].items() if value.is_floating_point())
    checkpoint["state_dict"][first].view(-1)[0].mul_(1 + 1e-6)
    torch.save(checkpoint, other / "checkpoints/last.ckpt")
    results = json.loads((other / "results.json").read_text())
    version = results["versions"]["torch"]
    results["git_commit"], results["versions"]["torch"] = "0123abc", "2.0"
    (other / "results.json").write_text(json.dumps(results))
    assert main([str(other), "--out", str(tmp_path / "new")]) == 1
    said = capsys.readouterr().out
    assert "weights: not the same" in said
    assert "differs: git_commit was 0123abc" in said
    assert f"differs: torch was 2.0, is {version}" in said


@pytest.mark.parametrize(
    ("status", "arguments", "message"),
    [
        (None, ["{}"], "is no folder of a run: it has no results.json"),
        ("failed", ["{}"], "is not complete (failed)"),
        ("complete", ["{}"], "has no config.yaml"),
        ("complete", ["{}", "--out", "{}"], "is the run itself"),
    ],
)
def test_what_is_no_complete_run_is_refused_in_one_line(status, arguments, message, tmp_path, capsys):
    if status:
        (tmp_path / "results.json").write_text(json.dumps({"status": status}))
    assert main([word.format(tmp_path) for word in arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_run_whose_method_reads_a_discrepancy_comes_out_again(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(config(*TOY, "method=mmd", run_dir=tmp_path / "run"))
    assert call("rerun", tmp_path / "run") == 0
    assert "weights: the same to the last bit" in capsys.readouterr().out
