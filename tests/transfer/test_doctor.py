"""`da doctor` on files: what it prints and writes, that it knows no target labels, and what it says to bad inputs."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import CONF, TOY, call, config
from omegaconf import OmegaConf
from photos import write_domain
from shifts import OTHER, classes

from da.assemble import assemble
from da.build import check
from da.data.features import FeatureCache
from da.data.rows import Draw
from da.doctor.advice import RULES
from da.doctor.cli import examine, is_pretrained
from da.doctor.report import command, lines
from da.features import drawn_rows, raw_rows
from da.run import run
from da.types import Samples

QUICK = ("--permutations", 99)
PAGE = CONF.parent / "docs/pages/transfer/diagnosis.md"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, rows, labels=True):
    x, y = rows
    given = {"y": np.array(["cat", "dog", "eel", "fox"])[y]} if labels else {}
    np.savez(f"{name}.npz", x=x.numpy(), **given)


def doctor(capsys, *words, target="B"):
    """What it prints, and what it writes."""
    files = ("data=tensors", "net=mlp", "data.source=A.npz", f"data.target={target}.npz")
    assert call("doctor", *files, *words, *QUICK, "--out", "found.json") == 0, capsys.readouterr().err
    return capsys.readouterr().out, json.loads(Path("found.json").read_text(encoding="utf-8"))


def test_nothing_depends_on_the_labels_of_the_target(capsys):
    write("A", classes(300, seed=1))
    x, y = classes(200, OTHER, seed=2, move=0.5)
    said = []
    for labels in (y, y[torch.randperm(200, generator=torch.Generator().manual_seed(0))], y.roll(1), None):
        write("B", (x, y if labels is None else labels), labels is not None)
        said.append(doctor(capsys))
    assert all(found == said[0] for found in said)


def test_two_halves_of_a_domain_are_said_to_be_alike(capsys):
    write("A", classes(400, seed=1))
    write("B", classes(400, seed=2))
    text, found = doctor(capsys)
    assert not found["measured"]["detected"]
    assert [s["rule"] for s in found["suggestions"]] == ["no_shift"]
    assert "No difference was found." in text
    assert "data.target=B.npz method=source_only" in text


def test_a_label_shift_is_named_with_the_shares_and_commands_that_compose(capsys):
    write("A", classes(800, seed=1))
    write("B", classes(600, OTHER, seed=2))
    text, found = doctor(capsys, "data.classes=[cat,dog,eel,fox]", "method=dann", "term=mcc")
    measured = found["measured"]
    assert measured["label_shift"]
    assert not measured["covariate_shift"]
    for share, low, high in zip(OTHER, measured["shares"]["low"], measured["shares"]["high"], strict=True):
        assert low - 0.02 < share < high + 0.02
    assert "share of cat" in text
    assert max(map(len, text.splitlines())) <= 100
    (suggestion,) = found["suggestions"]
    assert suggestion["rule"] == "label_shift"
    (line,) = suggestion["commands"]
    words = shlex.split(line)
    assert words[:2] == ["da", "train"]
    assert "method=dann" not in words
    assert "term=mcc" not in words
    cfg = config(*words[2:])
    assert cfg.data.balance == {"source": "class"}
    assert cfg.names.method == "source_only"


def test_everything_is_in_the_file_and_in_the_page_of_the_docs(capsys):
    write("A", classes(200, seed=1))
    write("B", classes(150, seed=2, move=2.0))
    _, found = doctor(capsys)
    page = PAGE.read_text()
    for part in ("data", "measured", "suggestions"):
        keys = found[part][0] if part == "suggestions" else found[part]
        for key in keys:
            assert f"`{key}`" in page, f"{part}: {key}"
    for part in ("mmd", "shares", "overlap"):
        for key in found["measured"][part]:
            assert f"`{key}`" in page, f"{part}: {key}"
    assert set(found) == {"data", "measured", "findings", "suggestions"}
    assert set(found["findings"]) == {"features", "shares", "classes", "concept"}
    for rule in RULES:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{rule.name}` |")]
        assert rule.when in line
        assert rule.rests_on in line


def test_rows_are_drawn_alike_every_time_and_no_more_than_asked_for(capsys):
    write("A", classes(200, seed=1))
    write("B", classes(150, seed=2))
    text, found = doctor(capsys, "--rows", 60, "--folds", 3, "--seed", 5)
    assert found["measured"]["rows"] == [60, 60]
    assert (found["data"]["source_rows"], found["data"]["target_rows"]) == (200, 150)
    assert doctor(capsys, "--rows", 60, "--folds", 3, "--seed", 5) == (text, found)
    assert doctor(capsys, "--rows", 60, "--folds", 3, "--seed", 6)[1]["measured"]["mmd"] != found["measured"]["mmd"]


def test_a_leak_a_rare_class_and_a_scale_of_each_domain_are_noted(capsys):
    x, y = classes(200, seed=1)
    few = torch.cat([(y == 3).nonzero().flatten()[:2], (y != 3).nonzero().flatten()])
    write("A", (x[few], y[few]))
    write("B", (torch.cat([classes(100, seed=2)[0], x[few[:4]]]), torch.arange(104) % 4))
    text, found = doctor(capsys, "data.standardise=each")
    assert found["data"]["left_out"] == ["fox"]
    assert "not looked at one by one: fox" in text
    assert any(leak.startswith("leak: 4 of the 104 rows") for leak in found["data"]["leaks"])
    assert "every domain has its own scale" in text


def test_features_are_the_networks_if_it_is_pretrained_and_else_the_rows(tmp_path):
    write("A", classes(100, seed=1))
    write("B", classes(80, seed=2))
    files = ["data=tensors", "net=mlp", "data.source=A.npz", "data.target=B.npz"]
    assert examine(files, permutations=99).facts["features"] == "raw"
    by_net = examine(files, permutations=99, features="net")
    assert by_net.diagnosis.numbers == 16
    assert any("whose weights are random" in line for line in lines(by_net, files))
    assert max(map(len, lines(by_net, files))) <= 100
    assert not by_net.diagnosis.pretrained
    assert not is_pretrained(config(*files))
    photos = ("data=folder", "data.source=a", "data.target=b")
    for net, known in (("mobilenet_v2", True), ("torchvision", False), ("transformer", True), ("lenet", False)):
        assert is_pretrained(config(*photos, f"net={net}")) == known
    run(config(*TOY, "method=source_only", run_dir=tmp_path / "run"))
    trained = [*TOY, f"init_from={tmp_path}/run/checkpoints/last.ckpt"]
    report = examine(trained, permutations=99)
    assert report.diagnosis.pretrained
    assert report.facts["features"] == "net"


def test_the_features_of_images_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate("ab"):
        write_domain(Path(name), {"cat": 12, "dog": 12}, seed=seed, suffix=".png")
    words = ["data=folder", "data.source=a", "data.target=b", "net=torchvision", "net.input.size=32"]
    words.append("net.backbone.name=mobilenet_v2")
    kept = tmp_path / "cache"

    def measured(*more):
        report = examine([*words, *more], permutations=99, folds=2, features="net")
        return report.as_json()["measured"]

    direct = measured("data.cache_features=false")
    assert not list(kept.glob("features-*"))
    first = measured()
    assert list(kept.glob("features-*.bin"))
    with monkeypatch.context() as patched:
        patched.setattr(FeatureCache, "_fill", None)  # nothing is computed any more
        assert measured() == first
    assert first["distance"]["value"] == pytest.approx(direct["distance"]["value"], abs=1e-3)


def test_raw_images_are_those_that_are_scored_not_augmented_and_small():
    for seed, name in enumerate("ab"):
        write_domain(Path(name), {"cat": 12, "dog": 12}, seed=seed)
    words = ["data=folder", "net=torchvision", "net.input.size=64", "data.source=a", "data.target=b"]
    found = examine(words, permutations=99)
    assert found.diagnosis.numbers == 3 * 32 * 32
    data, _ = assemble(config(*words, "data.val_fraction=0"))
    plain = data.inputs("a")[0]
    expected = torch.nn.functional.adaptive_avg_pool2d(plain[Draw(torch.arange(24), 0)].x, 32).flatten(1)
    torch.testing.assert_close(raw_rows(data)[0], expected)


def test_raw_categories_are_a_column_each():
    for seed, name in enumerate("ab"):
        random = np.random.default_rng(seed)
        table = {"age": random.normal(size=30), "ward": random.choice(["x", "y", "z"], 30), "label": ["p", "q"] * 15}
        pl.DataFrame(table).write_csv(f"{name}.csv")
    words = ["data=csv", "net=tabular", "data.source=a.csv", "data.target=b.csv"]
    data, _ = assemble(config(*words, "data.val_fraction=0"))
    z_s, z_t = raw_rows(data)
    assert z_s.shape == z_t.shape
    assert z_s.shape[1] >= 4
    assert ((z_s[:, 1:] == 0) | (z_s[:, 1:] == 1)).all()
    assert (z_s[:, 1:].sum(dim=1) == 1).all()
    assert examine(words, permutations=99).facts["features"] == "raw"


def test_rows_too_wide_and_texts_are_refused_raw(monkeypatch):
    data, _ = assemble(config(*TOY))
    monkeypatch.setattr("da.features.WIDE", 1)
    with pytest.raises(ValueError, match="a row has 2 numbers, too many"):
        raw_rows(data)
    rows = drawn_rows(data, "source")
    monkeypatch.setattr(type(rows), "__getitem__", lambda self, draw: _texts(len(draw.rows)))
    with pytest.raises(ValueError, match="texts can't be compared without a network"):
        raw_rows(data)


def _texts(n):
    ids = torch.zeros(n, 4, dtype=torch.long)
    return Samples({"input_ids": ids, "attention_mask": ids}, ids[:, 0], ids[:, 0], ids[:, 0])


def test_the_commands_keep_the_data_and_leave_other_methods_out():
    words = [
        "data=toy",
        "+method.terms.x=1",
        "method.weights.align.high=2",
        "net.input.mean=[0.5, 0.5]",
        "pretrain=null",
    ]
    assert command(words, "method=mcc data.label_sets=partial", knows_label_sets=False) == (
        "da train data=toy 'net.input.mean=[0.5, 0.5]' method=mcc"
    )
    assert command(words, "method=mcc data.label_sets=partial").endswith("method=mcc data.label_sets=partial")


def test_the_commands_of_a_report_compose_and_fit_their_constructors(capsys):
    assert call("doctor", *TOY, *QUICK) == 0
    text = capsys.readouterr().out.replace(" \\\n", " ")
    found = re.findall(r"^ +(da train .*)$", text, flags=re.MULTILINE)
    assert found
    for line in found:
        words = [word for word in shlex.split(line)[2:] if word != "-m"]
        cfg = config(*[re.sub(r"^((?:method|seed)=[^,]+),.*", r"\1", word) for word in words])
        check(OmegaConf.to_container(cfg.method, resolve=True), "method")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "say which data: data=..."),
        (["net=mlp"], 2, "say which data: data=..."),
        (["data=toy", "--rows", "3"], 2, "--rows 3 must be at least 20"),
        (["data=toy", "--permutations", "50"], 2, "--permutations 50 must be at least 99"),
        (["data=toy", "--folds", "1"], 2, "--folds 1 must be at least 2"),
        (["data=toy", "--out", "found.txt"], 2, "--out found.txt must end in .json"),
        (["data=toy", "--features", "all"], 2, "invalid choice: 'all'"),
        (["data=nope"], 1, "Could not find 'data/nope'"),
        (["data=tensors", "net=mlp", "data.source=no.npz", "data.target=b.npz"], 1, "no file no.npz"),
        (["data=toy", "net=lenet"], 1, "can't read the rows of data=toy"),
        (["data=toy", "net=cnn1d"], 1, "net and data do not fit: one asks for data.num_channels"),
        (["data=toy", "net=mlp", "data.num_rows=8"], 1, "the source has 8 rows, but it takes 20"),
        (["data=toy", "net=mlp", "data.shape=blobs", "data.num_classes=1"], 1, "one class only"),
        (["data=toy", "net=mlp", "--out", "no/found.json", "--permutations", "99"], 1, "no/found.json"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, status, said, capsys):
    assert call("doctor", *words) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
