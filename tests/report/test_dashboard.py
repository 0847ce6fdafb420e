"""The dashboard as a file, without an account, and that its panels find what a run logs."""

import csv
import json
import re
import sys

import pytest
from conftest import TOY, call, config

from da.report.dashboard import SECTIONS, Bars, Lines, Pictures
from da.run import run

pytest.importorskip("wandb_workspaces")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what that package says of its own


def test_the_file_holds_every_panel(tmp_path, capsys):
    out = tmp_path / "dashboard.json"
    assert call("wandb", "--entity", "team", "--project", "mine", "--out", out) == 0
    text = out.read_text()
    json.loads(text)
    assert '"mine"' in text
    for name, panels in SECTIONS.items():
        assert json.dumps(name, ensure_ascii=False) in text
        for panel in panels:
            wanted = [panel.pattern] if isinstance(panel, Lines) else panel[-1]
            for one in wanted:
                assert json.dumps(one)[1:-1] in text, one


def test_every_pattern_matches_what_an_adversarial_run_logs_and_every_bar_is_there(tmp_path):
    run(config(*TOY, "method=dann", "monitor.every=1", "figures=pca", "figures_every=1", run_dir=tmp_path))
    with (tmp_path / "metrics.csv").open() as lines:
        keys = next(csv.reader(lines))
    drawn = {f"figures/{path.stem}" for path in (tmp_path / "figures").glob("*")}
    for panel in (panel for panels in SECTIONS.values() for panel in panels):
        match panel:
            case Lines(_, pattern):
                assert any(re.fullmatch(pattern, key) for key in keys), pattern
            case Bars(_, metrics):
                assert set(metrics) <= set(keys)
            case Pictures(names):
                assert set(names) <= drawn


def test_what_is_wrong_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    assert call("wandb") == 2
    assert "give --out FILE.json, or --save" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert call("wandb", "--out", tmp_path / "x.json") == 1
    assert "lambda-da[dashboards]" in capsys.readouterr().err


def test_tensorboard_gets_the_keys_of_metrics_csv(tmp_path, monkeypatch, capsys):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(config(*TOY, "method=mmd", "logger=tensorboard", run_dir=tmp_path))
    found = events.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    with (tmp_path / "metrics.csv").open() as lines:
        columns = set(next(csv.reader(lines))) - {"step", "epoch"}
    assert columns <= set(found.Tags()["scalars"])
    monkeypatch.setattr("da.report.tensorboard_logger.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"lambda-da\[tensorboard\]"):
        run(config(*TOY, "method=mmd", "logger=tensorboard", run_dir=tmp_path / "other"))
