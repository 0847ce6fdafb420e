"""An offline W&B run, read back from its file: no account, no network, the same keys as metrics.csv."""

import csv
import json
import struct
import time

import pytest
from conftest import TOY, config, power_cut

from da.run import run

pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")


def records(content, block=32768):
    """The protobuf records of a .wandb file: a 7-byte header, then LevelDB's log framing."""
    assert content[:4] == b":W&B"
    position, pending = 7, b""
    while position + 7 <= len(content):
        if (left := block - position % block) < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        data = content[position + 7 : position + 7 + length]
        position += 7 + length
        pending = data if kind in (1, 2) else pending + data  # whole or first; else middle or last
        if kind in (1, 4):
            record = pb.Record()
            record.ParseFromString(pending)
            yield record


def complete(file, seconds=60):
    """The records once the last one is there: a process of W&B's own writes them, on a busy machine after `finish`."""
    deadline = time.monotonic() + seconds
    while True:
        found = list(records(file.read_bytes()))
        if any(r.WhichOneof("record_type") == "exit" for r in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def key(item):
    return item.key or "/".join(item.nested_key)


def test_an_offline_run_holds_the_metrics_the_config_and_the_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    cfg = config(*TOY, "figures=pca", "figures_every=1", "logger=wandb", run_dir=tmp_path)
    run(cfg)
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    logged, settings, exits = {}, {}, []
    for record in complete(file):
        match record.WhichOneof("record_type"):
            case "history":
                logged |= {key(item): json.loads(item.value_json) for item in record.history.item}
            case "config":
                settings |= {key(item): json.loads(item.value_json) for item in record.config.update}
            case "run":
                settings |= {key(item): json.loads(item.value_json) for item in record.run.config.update}
            case "exit":
                exits.append(record.exit.exit_code)
    with (tmp_path / "metrics.csv").open() as lines:
        columns = set(next(csv.reader(lines))) - {"step", "epoch"}
    assert columns <= set(logged)
    pictures = {tuple(name.split("/")[:2]) for name in logged if name.startswith("figures/")}
    assert pictures == {("figures", name) for name in ("features", "confusion", "curves", "per_class", "epochs")}
    assert settings["method"]["terms"]["adversarial"]["feature_dim"] == 16
    assert settings["seed"] == 0
    assert exits == [0]


def test_a_run_that_goes_on_after_an_interruption_keeps_its_id(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    cfg = config(*TOY, "logger=wandb", run_dir=tmp_path)
    with power_cut(epoch=1, batch=1):
        run(cfg)
    run(cfg)
    first, second = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert first.parent != second.parent
    assert first.name == second.name
    ended = [r.exit.exit_code for file in (first, second) for r in complete(file) if r.HasField("exit")]
    assert ended == [1, 0]
    cfg.force = True
    run(cfg)
    (anew,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert anew.name != first.name
