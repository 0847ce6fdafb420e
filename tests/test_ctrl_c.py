"""Ctrl-C ends whatever `da` is doing with one line, and the same command goes on."""

import json
import signal

import pytest
from conftest import TOY, call

from da.benchmark.cli import command_status
from da.callbacks.throughput import Throughput
from da.command import run_command
from da.sklearn import AdaptationClassifier

SAID = "stopped: the same command goes on with what is missing"


@pytest.fixture
def ctrl_c(monkeypatch):
    """A switch: while it is on, Ctrl-C comes at the end of the first batch of the second epoch."""
    on = []

    def interrupt(_self, trainer, *_):
        if on and trainer.current_epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Throughput, "on_train_batch_end", interrupt)
    return on


def recorded(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("results.json"))]


@pytest.mark.parametrize(
    ("words", "begun", "all_of_them"),
    [((), 1, 1), (("-m", "seed=0,1"), 1, 2), (("-m", "seed=0,1", "hydra/launcher=stacked"), 2, 2)],
    ids=["run", "sweep", "stack"],
)
def test_a_run_a_sweep_and_a_stack_say_one_line_and_go_on(words, begun, all_of_them, tmp_path, capfd, ctrl_c):
    command = ("train", *words, *TOY, "method=mmd", f"runs={tmp_path}")
    handler = signal.getsignal(signal.SIGINT)
    ctrl_c.append(True)
    assert call(*command) == 130
    assert capfd.readouterr().err.splitlines()[-1] == SAID
    assert signal.getsignal(signal.SIGINT) is handler
    ends = [(one["status"], one["error"]) for one in recorded(tmp_path)]
    assert ends == [("failed", "KeyboardInterrupt: stopped by Ctrl-C")] * begun
    ctrl_c.clear()
    assert call(*command) == 0
    assert [one["status"] for one in recorded(tmp_path)] == ["complete"] * all_of_them
    assert ("goes on after batch" in capfd.readouterr().out) == ("hydra/launcher=stacked" not in words)


def test_a_stack_that_is_stopped_before_its_first_batch_leaves_no_folder(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("da.stacked.trial.Trial.on_train_batch_start", interrupt)
    words = ("-m", "seed=0,1", "hydra/launcher=stacked", *TOY, "method=mmd", f"runs={tmp_path}")
    assert call("train", *words) == 130
    assert not recorded(tmp_path)


def test_a_classifier_in_a_notebook_is_stopped_by_what_python_raises(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("da.callbacks.seeding.SeedEachBatch.on_train_batch_start", interrupt)
    rows = [[float(i % 2), float(i)] for i in range(64)]
    with pytest.raises(KeyboardInterrupt, match="stopped by Ctrl-C"):
        AdaptationClassifier("mmd").fit(rows, [i % 2 for i in range(64)], X_target=rows)


def test_the_other_commands_do_too(capfd):
    def interrupt():
        raise KeyboardInterrupt

    for run in (run_command, command_status):
        assert run("report", interrupt) == 130
        assert capfd.readouterr().err == f"{SAID}\n"


def test_only_what_ctrl_c_was_is_one(tmp_path, monkeypatch):
    """Other ends of the program, such as that of a signal after which a checkpoint was written, stay as they are."""

    def leave(*_):
        raise SystemExit(143)

    monkeypatch.setattr(Throughput, "on_train_batch_end", leave)
    with pytest.raises(SystemExit) as left:
        call("train", *TOY, "method=mmd", f"runs={tmp_path}")
    assert left.value.code == 143
