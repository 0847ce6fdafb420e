"""The committed table is made of the committed timings, and a slice of the benchmark is run again."""

import importlib
import math
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

SPEED = Path(__file__).parents[1] / "benchmarks/speed"


@pytest.fixture(scope="module")
def speed():
    sys.path.insert(0, str(SPEED))
    yield importlib.import_module("run"), importlib.import_module("contenders").CASES
    sys.path.remove(str(SPEED))
    for name in ("run", "contenders"):
        del sys.modules[name]


def test_table_is_made_of_the_timings(speed):
    run, _ = speed
    assert (SPEED / "table.md").read_text() == run.table(run.read(SPEED / "speed.csv"))


def test_every_case_was_timed_at_every_size(speed):
    run, cases = speed
    timed = {(row["case"], row["size"], row["contender"]) for row in run.read(SPEED / "speed.csv")}
    for name, case in cases.items():
        sizes = ["x".join(map(str, size)) for size in case.sizes]
        assert {(name, size, who) for size in sizes for who in (*case.contenders, run.FLOOR)} <= timed


@pytest.mark.parametrize("name", ["mmd", "coral", "cdan map", "mcc"])
def test_all_contenders_compute_the_same_value_and_gradient(speed, name):
    run, cases = speed
    inputs = [x.detach().double().requires_grad_(x.requires_grad) for x in cases[name].inputs(cases[name].sizes[0])]
    ours, *others = (run.forward_and_backward(contender, inputs) for contender in cases[name].contenders.values())
    assert others
    for other in others:
        assert_close(other, ours)


@pytest.mark.parametrize("name", ["mmd", "coral", "cdan map", "mcc"])
def test_a_quick_slice_is_no_slower_than_the_others(speed, name):
    """Lenient, for busy machines: it is there to find an order of magnitude."""
    run, cases = speed
    threads = torch.get_num_threads()
    rows = run.measure(name, cases[name].sizes[0], threads, repeats=5)
    assert [row["contender"] for row in rows] == [*cases[name].contenders, run.FLOOR]
    assert all(math.isfinite(float(row["ms"])) for row in rows)
    assert all(float(row["ratio"]) > 0.3 for row in rows[1:-1])


def test_mmd_needs_little_memory_beside_its_features(speed):
    """2 x 1024 rows of width 512: the features take 8 MiB as much as their gradient does, a kernel matrix 16."""
    run, cases = speed
    step = run.steps(cases["mmd"], (1024, 512))["ours"]
    assert run.peak_bytes(step) < 40 * 2**20


def test_what_would_not_fit_is_left_out_and_said(speed):
    run, cases = speed
    assert "broadcast" not in run.steps(cases["mmd"], (256, 2048))
    assert "not run" in run.table(run.read(SPEED / "speed.csv"))
