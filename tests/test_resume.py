"""A run that is killed at any moment goes on as if nothing had happened when the same command is given again."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch
from conftest import TOY, config, options
from processes import run_on
from torch.testing import assert_close

from da.callbacks.checkpoints import LAST, PREVIOUS, SELECTED, LastCheckpoint, WholeFiles, newest_checkpoint
from da.callbacks.metrics_file import MetricsFile
from da.callbacks.selection import Scores
from da.cost import Meter
from da.models.state import load_checkpoint
from da.resume import saved_state
from da.run import run

EPOCHS, BATCHES = 2, 6
SHORT = (
    *(*TOY, f"trainer.limit_train_batches={BATCHES}", f"trainer.max_epochs={EPOCHS}"),
    *("net.backbone.dropout=0.3", "checkpoint_minutes=0"),
)
HELD = [  # what a checkpoint has to hold: averages, banks, queues, twins, centres, drawn layers, several optimizers
    ("method=dann", "averaging=ema", "averaging.decay=0.7"),
    ("method=mcd", "averaging=swa", "averaging.start=0.4"),
    ("method=shot",),
    ("method=atdoc",),
    ("method=can",),
    ("method=fixmatch", "method.terms.fixmatch.threshold=0.4"),
    ("method=cdan_random",),
    ("method=symnets",),
    ("method=align", "discrepancy=swd"),
    ("method=source_only", "term=[mcc,mixup]"),
]
KILLS = [(overrides, draw) for overrides in HELD for draw in (0, 1)]


def short(folder, *overrides):
    return config(*SHORT, *overrides, run_dir=folder)


def in_a_process(function):
    """Run a function in a process of its own, which starts as this one is; return its exit status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(folder, overrides, batch):
    """Train until the process is killed in this batch, counted from 0 over both stages of a source-free method."""

    def cut(*_):
        nonlocal batch
        if batch == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        batch -= 1

    def child():
        Scores.on_train_batch_start = cut
        run(short(folder, *overrides))

    assert in_a_process(child) == -signal.SIGKILL
    assert json.loads((folder / "results.json").read_text())["status"] == "running"


def assert_same_run(folder, whole, *metrics, times=1):
    """Weights, optimizers, callbacks and curves are those of the run that was not interrupted, bit for bit."""
    here, there = (load_checkpoint(place / "checkpoints" / LAST) for place in (folder, whole))
    for part in ("state_dict", "optimizer_states", "epoch", "global_step"):
        assert_close(here[part], there[part], rtol=0, atol=0)
    assert here["callbacks"]["Scores"] == there["callbacks"]["Scores"]
    here, there = (load_checkpoint(place / "checkpoints" / SELECTED) for place in (folder, whole))
    assert_close(here["state_dict"], there["state_dict"], rtol=0, atol=0)
    for file in ("metrics.csv", *metrics):
        assert without_test(folder / file) == without_test(whole / file)
    results, expected = (json.loads((place / "results.json").read_text()) for place in (folder, whole))
    for part in ("test", "selected", "oracle", "validators", "epochs", "steps", "status"):
        assert results[part] == expected[part]
    assert not (folder / "checkpoints" / PREVIOUS).exists()
    assert (expected["resumed"], [part["git_commit"] for part in results["resumed"]]) == (
        [],
        [expected["git_commit"]] * times,
    )


def without_test(path):
    """Lines of metrics.csv but that with the costs, which are no number twice."""
    lines = path.read_text().splitlines()
    columns = lines[0].split(",")
    assert len(set(lines)) == len(lines)
    return [
        line for line in lines if "cost/seconds" not in columns or not line.split(",")[columns.index("cost/seconds")]
    ]


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """Folders of runs that were not interrupted, by their options."""
    folders = {}

    def whole(overrides):
        if overrides not in folders:
            folders[overrides] = tmp_path_factory.mktemp("whole")
            run(short(folders[overrides], *overrides))
        return folders[overrides]

    return whole


@pytest.mark.parametrize(("overrides", "draw"), KILLS, ids=str)
def test_a_run_that_was_killed_in_a_random_batch_ends_as_one_that_was_not(overrides, draw, tmp_path, whole_runs):
    stages = 2 if "method=shot" in overrides else 1
    batch = random.Random(f"{overrides} {draw}").randrange(1, stages * EPOCHS * BATCHES)
    killed(tmp_path, overrides, batch)
    run(short(tmp_path, *overrides))
    assert_same_run(tmp_path, whole_runs(overrides), *["pretrain/metrics.csv"] * (stages - 1))


@pytest.mark.parametrize("method", options("method"))
def test_every_method_goes_on_in_the_middle_of_an_epoch(method, tmp_path, whole_runs):
    needs = {
        "fixmatch": ("method.terms.fixmatch.threshold=0.4",),
        "teachers": ("method.labels=hard",),
    }
    overrides = (f"method={method}", *needs.get(method, ()))
    killed(tmp_path, overrides, BATCHES + 3 + EPOCHS * BATCHES * (method == "shot"))
    run(short(tmp_path, *overrides))
    assert_same_run(tmp_path, whole_runs(overrides))


@pytest.mark.parametrize("extra", [("trainer.accumulate_grad_batches=2",), ("data.num_workers=1",)])
def test_it_goes_on_with_accumulated_gradients_and_with_workers_too(extra, tmp_path, whole_runs):
    overrides = ("method=mmd", *(f"+{word}" if "accumulate" in word else word for word in extra))
    killed(tmp_path, overrides, BATCHES + 3)
    run(short(tmp_path, *overrides))
    assert_same_run(tmp_path, whole_runs(overrides))


def test_a_folder_that_was_moved_keeps_the_epoch_that_was_selected(tmp_path, whole_runs):
    overrides = ("method=dann", "selection_metric=snd", "optimizer.lr=1.0")  # falls after the first epoch
    assert json.loads((whole_runs(overrides) / "results.json").read_text())["selected"]["epoch"] == 0
    killed(tmp_path / "before", overrides, BATCHES + 3)
    (tmp_path / "before").rename(tmp_path / "after")
    run(short(tmp_path / "after", *overrides))
    assert_same_run(tmp_path / "after", whole_runs(overrides))


def test_a_run_that_goes_on_from_another_folder_takes_the_epoch_that_was_selected_along(tmp_path, whole_runs):
    overrides = ("method=dann", "selection_metric=snd", "optimizer.lr=1.0")
    before = whole_runs(overrides)
    further = (*overrides, f"ckpt_path={before / 'checkpoints' / LAST}", "trainer.max_epochs=3")
    results = run(short(tmp_path / "on", *further))
    assert [epoch["epoch"] for epoch in results["epochs"]] == [0, 1, 2]
    assert results["selected"]["epoch"] == 0
    here, there = (load_checkpoint(folder / "checkpoints" / SELECTED) for folder in (tmp_path / "on", before))
    assert_close(here["state_dict"], there["state_dict"], rtol=0, atol=0)
    with pytest.raises(ValueError, match="kept its best epoch by val/validator/snd, not by val/validator/infomax: set"):
        run(short(tmp_path / "other", *further, "selection_metric=infomax"))
    alone = tmp_path / "alone" / LAST
    alone.parent.mkdir()
    alone.write_bytes((before / "checkpoints" / LAST).read_bytes())
    with pytest.raises(FileNotFoundError, match="is kept in .*/alone/selected.ckpt, which is not there; init_from="):
        run(short(tmp_path / "other", *overrides, f"ckpt_path={alone}", "trainer.max_epochs=3"))
    assert json.loads((tmp_path / "other/results.json").read_text())["status"] == "failed"


def test_a_source_free_run_that_goes_on_from_another_folder_takes_its_source_along(tmp_path, whole_runs):
    before = whole_runs(("method=shot",))
    on = f"ckpt_path={before / 'checkpoints' / LAST}"
    results = run(short(tmp_path, "method=shot", on, "trainer.max_epochs=3"))
    assert (results["status"], len(results["epochs"])) == ("complete", 3)


def test_a_run_that_is_killed_again_and_again_comes_to_the_same_end(tmp_path, whole_runs):
    for _ in range(3):
        killed(tmp_path, ("method=dann",), 3)  # batches since it went on
    run(short(tmp_path, "method=dann"))
    assert_same_run(tmp_path, whole_runs(("method=dann",)), times=3)
    parts = json.loads((tmp_path / "results.json").read_text())["resumed"]
    assert [part["steps"] for part in parts] == [3, 6, 9]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_ends_the_run_after_a_checkpoint_of_that_very_batch(number, tmp_path, whole_runs, capfd):
    later = ("method=dann", "checkpoint_minutes=60")  # no checkpoint within an epoch but for the signal

    def ask(self, trainer, method, batch, batch_idx):
        if method.batches_seen == 3:
            os.kill(os.getpid(), number)

    def child():
        Scores.on_train_batch_start = ask
        with pytest.raises(SystemExit) as left:
            run(short(tmp_path, *later))
        assert left.value.code == 128 + number
        assert signal.getsignal(number) == signal.SIG_DFL

    assert in_a_process(child) == 0
    assert f"{number.name}: saved {tmp_path / 'checkpoints/last.ckpt'} after batch 3" in capfd.readouterr().err
    assert saved_state(short(tmp_path, *later), tmp_path).content["global_step"] == 3
    run(short(tmp_path, *later))
    assert_same_run(tmp_path, whole_runs(("method=dann",)))


def test_the_end_of_the_time_is_an_error_and_the_same_command_goes_on(tmp_path, whole_runs):
    later = ("method=dann", "checkpoint_minutes=60")
    for batch in (1, 2, 3):
        with pytest.raises(TimeoutError, match=f"max_minutes=0 are over after batch {batch}, which is saved"):
            run(short(tmp_path, *later, "max_minutes=0"))
    assert json.loads((tmp_path / "results.json").read_text())["status"] == "failed"
    run(short(tmp_path, *later))
    assert_same_run(tmp_path, whole_runs(("method=dann",)), times=3)


def test_who_handled_a_signal_before_is_called_after_the_checkpoint(tmp_path):
    """Submitit handles USR2: it puts the job into the queue again, and is not to be disturbed by Slurm's TERM."""
    called = []

    def requeue(number, frame):
        os.kill(os.getpid(), signal.SIGTERM)
        called.append((tmp_path / "checkpoints/last.ckpt").exists())
        raise KeyError("left")

    callback = LastCheckpoint(tmp_path / "checkpoints", 60, MetricsFile(tmp_path), Meter())
    before, terminates = signal.signal(signal.SIGUSR2, requeue), signal.getsignal(signal.SIGTERM)
    try:
        callback.on_train_start(None, None)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert (callback.asked, called) == (signal.SIGUSR2, [])
        WholeFiles().save_checkpoint({"state_dict": {}}, callback.path)
        with pytest.raises(KeyError):
            callback._leave(callback.asked, type("Method", (), {"batches_seen": 1}))
        assert called == [True]
        assert signal.getsignal(signal.SIGUSR2) is requeue
    finally:
        signal.signal(signal.SIGUSR2, before)
        signal.signal(signal.SIGTERM, terminates)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, whole_runs, capsys):
    killed(tmp_path, ("method=dann",), BATCHES + 3)
    last = tmp_path / "checkpoints" / LAST
    for length in (len(last.read_bytes()) // 2, 0):
        last.write_bytes(last.read_bytes()[:length])
        path, content = newest_checkpoint(last.parent)
        assert (path.name, content["global_step"]) == (PREVIOUS, BATCHES + 2)
        assert f"{last} is damaged" in capsys.readouterr().err
    run(short(tmp_path, "method=dann"))
    assert_same_run(tmp_path, whole_runs(("method=dann",)))


def test_without_a_whole_checkpoint_the_run_begins_anew(tmp_path, whole_runs):
    killed(tmp_path, ("method=dann",), 3)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"torn")
    run(short(tmp_path, "method=dann"))
    assert_same_run(tmp_path, whole_runs(("method=dann",)), times=0)


def test_a_full_disk_is_said_and_leaves_the_earlier_checkpoints(tmp_path, whole_runs):
    """A limit on the size of files stands for the disk: the system refuses to write on, and says so."""
    killed(tmp_path, ("method=dann",), BATCHES + 3)
    before = {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}

    def child():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = len(before[LAST]) // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        with pytest.raises(
            OSError, match=r"can't write .*last.ckpt: .*File too large.*; last.ckpt from before is whole"
        ):
            run(short(tmp_path, "method=dann"))

    assert in_a_process(child) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before
    run(short(tmp_path, "method=dann"))
    assert_same_run(tmp_path, whole_runs(("method=dann",)), times=2)


def test_last_asks_for_a_checkpoint_and_force_and_null_for_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run of this configuration was interrupted"):
        saved_state(short(tmp_path, "method=dann", "ckpt_path=last"), tmp_path)
    killed(tmp_path, ("method=dann",), 5)
    saved = {
        option: saved_state(short(tmp_path, "method=dann", option), tmp_path)
        for option in ("ckpt_path=auto", "ckpt_path=last", "ckpt_path=null", "force=true", "seed=1")
    }
    assert [option for option, found in saved.items() if found] == ["ckpt_path=auto", "ckpt_path=last"]
    assert saved["ckpt_path=last"].content["global_step"] == 5


def test_what_it_cost_before_it_was_killed_is_counted(tmp_path):
    killed(tmp_path, ("method=dann",), 8)
    path = tmp_path / "checkpoints" / LAST
    checkpoint = load_checkpoint(path)
    checkpoint["callbacks"]["LastCheckpoint"]["cost"]["seconds"] += 1000.0
    torch.save(checkpoint, path)
    assert 1000 < run(short(tmp_path, "method=dann"))["cost"]["seconds"] < 1060


def test_metrics_keep_the_rows_before_a_checkpoint_and_lose_a_torn_one(tmp_path):
    first = MetricsFile(tmp_path)
    for step in range(4):
        first.log_metrics({"loss": float(step)}, step=step)
    first.save()
    first.log_metrics({"loss": 4.0, "accuracy": 0.5}, step=4)
    first.save()  # a column more: all of it is written again
    assert first.rows == 5
    file = tmp_path / "metrics.csv"
    whole = file.read_bytes()
    file.write_bytes(whole[:-3])
    second = MetricsFile(tmp_path, rows=3)
    assert file.read_bytes().splitlines() == whole.splitlines()[:4]
    for step in (3, 4):
        second.log_metrics({"loss": float(step)} | ({"accuracy": 0.5} if step == 4 else {}), step=step)
    second.save()
    assert file.read_bytes() == whole


CUT = """
import os, signal, sys
from da.callbacks.selection import Scores
from da.cli import main
def cut(self, trainer, method, batch, batch_idx):
    if method.batches_seen == int(os.environ["CUT"]) and trainer.global_rank == int(os.environ["RANK_TO_CUT"]):
        os.kill(os.getpid(), signal.SIGKILL)
Scores.on_train_batch_start = cut
sys.exit(main())
"""


@pytest.mark.ddp
def test_two_processes_of_which_one_is_killed_go_on_together(tmp_path):
    (tmp_path / "cut.py").write_text(CUT)
    words = [*SHORT, "method=dann", "averaging=ema", "trainer=ddp_cpu", "+trainer.limit_train_batches=6"]
    words = [word for word in words if word not in ("trainer=smoke", f"trainer.limit_train_batches={BATCHES}")]
    words = [*words, "trainer.max_epochs=2", "+trainer.limit_val_batches=2", "+trainer.limit_test_batches=2"]
    words = [word.lstrip("+") for word in words]

    def train(folder, cut, rank=0):
        command = [sys.executable, "cut.py", "train", *words, f"run_dir={folder}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUT": str(cut), "RANK_TO_CUT": str(rank)}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    run_on(2, config(*words, run_dir=tmp_path / "whole"))
    for rank in (0, 1):
        assert train(f"cut{rank}", cut=BATCHES + 4, rank=rank).returncode != 0
        again = train(f"cut{rank}", cut=-1)
        assert again.returncode == 0, again.stderr
        assert_same_run(tmp_path / f"cut{rank}", tmp_path / "whole")
