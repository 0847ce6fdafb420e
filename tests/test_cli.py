"""The command line as a user meets it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TOY, call, same_tests

from da.cli import COMMANDS
from da.models.state import load_checkpoint
from da.report.axes import rows_by_axes
from da.report.folder import sections
from da.report.results import find_results

ROOT = Path(__file__).parents[1]


def da(*arguments, cwd, **environ):
    """Run `da` in `cwd`; return (status, stdout, stderr)."""
    done = subprocess.run(
        [sys.executable, "-m", "da", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def da_here(tmp_path, monkeypatch, capfd):
    """The same within this process, which spares the imports: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments):
        capfd.readouterr()
        status = call(*arguments)
        return status, *capfd.readouterr()

    return run_here


def results_in(folder):
    return [json.loads(path.read_text()) for path in sorted(Path(folder).rglob("results.json"))]


def test_help_is_quick_and_names_every_method(tmp_path):
    start = time.monotonic()
    status, out, _ = da("train", "--help", cwd=tmp_path)
    assert status == 0
    assert time.monotonic() - start < 10  # half a second on an idle machine; torch alone takes longer
    for name in ("dann", "shot", "digits_demo", "torchvision"):
        assert name in out


def test_a_sweep_a_second_time_and_a_report(tmp_path, da_here):
    sweep = ("train", "-m", "method=source_only,mmd", "seed=0,1", *TOY)
    status, out, err = da_here(*sweep)
    assert (status, err) == (0, "")
    assert len(results_in(tmp_path / "runs")) == 4
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("results.json")}

    status, out, _ = da_here(*sweep)
    assert status == 0
    assert out.count("is complete already") == 4
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps

    status, out, _ = da_here("report", "runs")
    assert status == 0
    assert "mmd" in out
    assert "source_only" in out

    results = find_results([tmp_path / "runs"])
    rows = rows_by_axes(results)  # what a sweep leaves may stand in one report, and has what its sections need
    drawn = {one.name for one in sections(rows, results) if one.figures}
    assert [(row.name, len(row.runs)) for row in rows] == [("source_only", 2), ("mmd", 2)]
    assert drawn == {"accuracy", "against", "validators", "cost", "classes"}


def test_one_failing_run_of_a_sweep_does_not_stop_the_others(tmp_path, da_here):
    status, out, err = da_here("train", *TOY, "-m", "data.noise=0.1,-x,0.2")
    assert status == 1
    assert out.count("target test accuracy") == 2
    assert err == "error: dann seed 0: data.noise='-x' is of type str, expected float\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("seeed=1",), "Could not override 'seeed'"),
        (("method=dannn",), "Could not find 'method/dannn' Available options in 'method': afn_hard"),
        (("method.weights.algin.high=1",), "Could not override 'method.weights.algin.high'"),
        (("+method.weights.foo={_target_: da.schedules.Constant}",), "weights name ['foo'], but the terms are"),
        (("net.num_classes=3",), "net.num_classes=3, but data.num_classes=2: set them equal"),
        (("data.num_classes=1",), "there are two moons"),
        (("data.batch_size.source=5000",), "data.batch_size.source=5000 is larger than the 1000 rows"),
        (("data.num_rows=0",), "no training rows"),
        (("selection_metric=accuracy",), "selection_metric=accuracy is no validator; there are ['bnm', 'corr_c'"),
        (("method=shot", "selection_metric=source_acc"), "needs the source, which Shot does not open"),
        (("data=office_caltech10",), "net and data do not fit: one asks for data.num_features"),
        (("net=lenet",), "net=lenet can't read the rows of data=toy"),
        (("data=digits_demo",), "net and data do not fit: one asks for net.input.size, which the other does not"),
        (("ckpt_path=nowhere.ckpt",), "no checkpoint at nowhere.ckpt"),
        (("init_from=nowhere.ckpt",), "no checkpoint at nowhere.ckpt"),
        (("data=digits", "net=lenet", "data.source=mnist", "data.target=mnist"), "both 'mnist'"),
    ],
)
def test_bad_input_gives_one_line_that_names_it(arguments, message, tmp_path, da_here):
    status, _, err = da_here("train", *TOY, *arguments)
    assert status == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert all(r["status"] == "failed" and r["error"] for r in results_in(tmp_path))


def test_debug_shows_the_traceback(tmp_path):
    status, _, err = da("train", *TOY, "debug=true", "ckpt_path=nowhere.ckpt", cwd=tmp_path)
    assert status == 1
    assert "Traceback" in err


def test_an_unknown_command_is_answered_with_the_known_ones(tmp_path, da_here):
    known = f"there are train, {', '.join(COMMANDS)}"
    assert da_here("trian") == (1, "", f"error: there is no command 'trian'; {known}\n")


def test_a_checkpoint_of_another_net_is_refused(tmp_path, da_here):
    assert da_here("train", *TOY, "runs=a")[0] == 0
    (checkpoint,) = tmp_path.glob("a/**/last.ckpt")
    for option in ("ckpt_path", "init_from"):
        status, _, err = da_here("train", *TOY, "net.feature_dim=5", f"{option}={checkpoint}")
        assert status == 1
        assert "does not fit" in err
        assert err.count("\n") == 1


def test_a_loss_that_is_not_finite_is_named_and_the_last_good_checkpoint_stays(tmp_path, da_here):
    jump = "{_target_: da.schedules.Warmup, high: 1.0e+39, start: 0.5, end: 0.5}"  # beyond float32 in the second epoch
    explode = ("method=cdan", "~method.weights.adversarial", f"+method.weights.adversarial={jump}")
    status, _, err = da_here("train", *TOY, *explode)
    assert status == 1
    assert err.startswith("error: the loss is not finite: ")
    assert "'adversarial'" in err
    assert "the last good checkpoint is" in err
    (checkpoint,) = tmp_path.glob("runs/**/last.ckpt")
    assert all(value.isfinite().all() for value in load_checkpoint(checkpoint)["state_dict"].values())
    assert [r["status"] for r in results_in(tmp_path)] == ["failed"]


@pytest.mark.ddp
def test_two_processes_train_the_weights_of_one_also_inside_a_sweep(tmp_path, da_here):
    norm = "net.bottleneck={_target_: da.models.network.Bottleneck, _partial_: true, dropout: 0.0}"
    short = ("data=toy", "net=mlp", "figures=none", norm, "data.steps_per_epoch=6", "trainer.max_epochs=2")
    sweep = ("train", "-m", "method=mcd,shot", *short)
    status, _, err = da_here(*sweep, "trainer=cpu", "runs=one")
    assert status == 0, err
    status, _, err = da(*sweep, "trainer=ddp_cpu", "runs=two", cwd=tmp_path)
    assert status == 0, err
    one, two = ({r["method"]: r for r in results_in(tmp_path / name)} for name in ("one", "two"))
    assert [r["world_size"] for r in two.values()] == [2, 2]
    for method in one:
        paths = (next((tmp_path / name).glob(f"toy/{method}/*/checkpoints/last.ckpt")) for name in ("one", "two"))
        a, b = (load_checkpoint(path)["state_dict"] for path in paths)
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        assert same_tests(one[method]["test"], two[method]["test"])
        assert one[method]["validators"] == pytest.approx(two[method]["validators"], abs=1e-4)


def test_the_installed_wheel_runs_in_another_folder(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("lambda_da-*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)]
    subprocess.run(install, check=True)
    status, _, err = da("train", *TOY, "method=source_only", cwd=tmp_path, PYTHONPATH=str(site))
    assert status == 0, err
    (config,) = tmp_path.glob("runs/**/.hydra/hydra.yaml")
    assert str(site / "da" / "conf") in config.read_text()


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    command = f"{sys.executable} -m da train --help | head -1"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.stderr == ""
