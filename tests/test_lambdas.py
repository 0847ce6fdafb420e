"""The committed table of sweeps of lambda is made of the committed times, and they say what the docs say."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEED = ROOT / "benchmarks/speed"


@pytest.fixture(scope="module")
def lambdas():
    sys.path.insert(0, str(SPEED))
    yield importlib.import_module("lambdas")
    sys.path.remove(str(SPEED))
    del sys.modules["lambdas"]


def test_table_is_made_of_the_times_and_stands_in_the_docs(lambdas):
    table = lambdas.table(lambdas.read(SPEED / "lambdas.csv"))
    assert (SPEED / "lambdas.md").read_text() == table
    assert table in (ROOT / "docs/pages/lambdas.md").read_text()


def test_a_stack_is_faster_and_its_curves_are_those_of_runs_by_themselves(lambdas):
    rows = lambdas.read(SPEED / "lambdas.csv")
    assert {row["case"] for row in rows} == set(lambdas.CASES)
    assert {f"{row['lambdas']}x{row['seeds']}" for row in rows} == set(lambdas.SHAPES)
    for column, least in (("cpu_seconds", (2, 1.2)), ("seconds", (2.1, 1.3))):  # of several weights, of seeds alone
        spent = {(*lambdas.sweep_of(row), row["round"], row["contender"]): float(row[column]) for row in rows}
        for *sweep, contender in spent:
            if alike := lambdas.ALIKE.get(contender):
                times = spent[*sweep, alike] / spent[*sweep, contender]
                assert times > least[int(sweep[2]) == 1]
    # The sweep of the size that was asked for, as commands and at once.
    spent = {
        row["contender"]: float(row["seconds"])
        for row in rows
        if lambdas.sweep_of(row)[0] == "1280 features" and row["lambdas"] == "16"
    }
    assert spent[lambdas.COMMANDS] / spent[lambdas.BEST] > 8
    assert max(float(row["gap"]) for row in rows) < 1e-6  # the weights are the same; one bit of a loss is not


def test_the_gap_is_the_largest_difference_of_any_curve(lambdas, tmp_path):
    for name, loss in (("one", "0.5"), ("other", "0.75")):
        (tmp_path / name / "run").mkdir(parents=True)
        lines = ["step,train/loss,alignment/align/ratio,cost/seconds", f"25,{loss},,", f"50,{loss},2.0,", "50,1,,7"]
        (tmp_path / name / "run/metrics.csv").write_text("\n".join(lines))
    assert lambdas.gap(tmp_path / "one", tmp_path / "other") == 0.25
