"""`da calibrate`: the temperature of a run's network, by held-out source rows and nothing of the target."""

import json
import re
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from conftest import call, config
from photos import write_domain
from saved_runs import WIDE, change, write_run
from torch.nn.functional import cross_entropy

from da.calibrate import calibrate
from da.data.rows import Draw, Hidden
from da.data.toy import Toy
from da.run import run
from da.transfer import teachers
from da.use import open_run


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "run"
    cfg = config("data=toy", "net=mlp", "method=source_only", "figures=none", "data.noise=0.5", run_dir=folder)
    cfg.trainer.max_epochs = 4
    run(cfg)
    return folder


def test_it_is_the_temperature_of_the_source_rows_that_were_held_out(toy, capfd):
    opened = open_run(toy)
    rows = opened.data.domain("source").val
    batch = rows[Draw(torch.arange(len(rows)), 0)]
    with torch.no_grad():
        logits = opened.net(batch.x)[1].double()
    found = calibrate(str(toy), batch_size=77)
    assert found.temperature == pytest.approx(teachers.fit_temperature(logits, batch.y), rel=1e-6)
    assert found.before == pytest.approx(float(cross_entropy(logits, batch.y)), rel=1e-6)
    assert found.after < found.before
    assert found.rows == 1000
    assert call("calibrate", toy, toy) == 0
    *lines, last = capfd.readouterr().out.splitlines()
    assert len(lines) == 2
    value = f"{found.temperature:.3f}"
    assert f"T = {value}, negative log-likelihood of 1000 source rows" in lines[0]
    assert last == f"[{value},{value}]"
    cfg = config("data=toy", "net=mlp", "method=teachers", f"method.teachers.temperatures={last}")
    assert cfg.method.teachers.temperatures == [float(value)] * 2


def test_transcal_reads_target_rows_and_no_label_and_the_oracle_says_what_it_does(toy, tmp_path, capfd, monkeypatch):
    found = calibrate(str(toy), by="transcal")
    assert found.temperature >= 1
    assert found.target is None
    read = Toy.read

    def scrambled(self, role):
        domain = read(self, role)
        if role == "source":
            return domain
        return domain._replace(**{part: Hidden(getattr(domain, part)) for part in ("train", "val", "test")})

    monkeypatch.setattr(Toy, "read", scrambled)
    assert calibrate(str(toy), by="transcal") == found
    with pytest.raises(ValueError, match="--oracle: the target of .* has no labels"):
        calibrate(str(toy), by="transcal", oracle=True)
    monkeypatch.undo()
    assert call("calibrate", toy, "--by", "transcal", "--oracle", "--plot", tmp_path / "r.png") == 0
    out = capfd.readouterr().out
    assert "TransCal: target accuracy estimated as" in out
    before = re.search(r"ORACLE, target test rows: ECE ([\d.]+) ->", out)[1]
    results = json.loads((toy / "results.json").read_text())
    assert float(before) == pytest.approx(results["test"]["target_ece"]["selected"], abs=6e-4)
    assert (tmp_path / "r.png").stat().st_size > 10_000
    assert call("calibrate", toy, toy, "--plot", tmp_path / "r.png") == 2


def tables(folder):
    for seed, name in enumerate("st"):
        y = np.arange(60) % 2
        x = np.random.default_rng(seed).normal(y, 1)
        pl.DataFrame({"x": x, "z": x**2, "label": y}).write_csv(folder / f"{name}.csv")
    return "data=csv", "net=tabular", f"data.source={folder}/s.csv", f"data.target={folder}/t.csv"


def photos(folder):
    for seed, name in enumerate("st"):
        write_domain(folder / name, {"cat": 10, "dog": 10}, seed=seed, suffix=".png")
    small = ("net=lenet", "net.input.channels=3", "net.input.size=32", "data.resize=36")
    return "data=folder", *small, f"data.source={folder}/s", f"data.target={folder}/t"


@pytest.mark.parametrize("make", [tables, photos])
def test_the_target_is_not_opened(make, tmp_path, monkeypatch):
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    folder = write_run(tmp_path / "run", *make(tmp_path))
    for gone in (tmp_path / "t.csv", tmp_path / "t", tmp_path / "cache"):
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink(missing_ok=True)
    monkeypatch.setattr(teachers, "fit_temperature", lambda logits, y: 2.0)  # it never trained
    found = calibrate(folder)
    assert found.temperature == 2
    assert 0 < found.rows < 20
    (tmp_path / ("s.csv" if make is tables else "s")).rename(tmp_path / "elsewhere")
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "another"))
    with pytest.raises((FileNotFoundError, ValueError), match=r"s\b"):
        calibrate(folder)


def test_rows_that_were_trained_on_do_not_calibrate(tmp_path):
    folder = write_run(tmp_path / "run", *tables(tmp_path))
    change(folder, data__val_fraction=0.0)
    with pytest.raises(ValueError, match=r"no row of the source .* was held out \(data.val_fraction=0\)"):
        calibrate(folder)


def test_what_is_wrong_is_said_in_one_line(tmp_path, capfd):
    chance = write_run(tmp_path / "chance", "data=toy", "net=mlp", *WIDE, scale=-1.0, seed=1)
    for words, status, message in (
        ((), 2, "the following arguments are required: RUN"),
        (("nowhere",), 1, "there is no folder nowhere"),
        ((chance,), 1, "no temperature helps"),
    ):
        assert call("calibrate", *words) == status
        out, err = capfd.readouterr()
        assert out == ""
        assert re.fullmatch(f"error: .*{message}.*\n", err), err
