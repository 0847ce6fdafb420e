"""The committed table is made of the committed rates, these keep what is promised, and a slice is measured again."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

SPEED = Path(__file__).parents[1] / "benchmarks/speed"


@pytest.fixture(scope="module")
def feeding():
    sys.path.insert(0, str(SPEED))
    threads = torch.get_num_threads()
    yield importlib.import_module("feeding")
    torch.set_num_threads(threads)
    sys.path.remove(str(SPEED))
    del sys.modules["feeding"]


def ratios(rows):
    return {(row["case"], row["contender"]): float(row["ratio"]) for row in rows}


def test_table_is_made_of_the_rates(feeding):
    assert (SPEED / "feeding.md").read_text() == feeding.table(feeding.read(SPEED / "feeding.csv"))


def test_the_committed_rates_keep_what_is_promised(feeding):
    found = ratios(feeding.read(SPEED / "feeding.csv"))
    assert {case for case, _ in found} == set(feeding.CASES)
    assert found["tensors", "row by row"] >= 20
    assert found["lenet step", "feeding"] <= 0.03
    assert found["image folder", "first epoch"] >= 5


@pytest.mark.parametrize(
    ("case", "other", "rows", "batches", "least"),
    [
        ("tensors", "row by row", 2000, 20, 5),
        ("vectors", "TensorDataset", 2000, 20, 0.5),
        ("lenet step", "training step", 2000, 3, 0.7),
        ("image folder", "first epoch", 64, 0, 2),
    ],
)
def test_a_quick_slice_is_not_an_order_of_magnitude_off(feeding, case, other, rows, batches, least):
    """Lenient, for busy machines."""
    found = feeding.measure(case, repeats=2, rows=rows, batches=batches)
    assert ratios(found)[case, other] >= least
