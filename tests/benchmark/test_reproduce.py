"""A row of a suite trained again, and what it is compared with."""

import pytest
from conftest import call
from suites import pretend, pretend_all, toy_suite

from da.benchmark.plan import plan
from da.benchmark.reproduce import stated
from da.benchmark.runner import Outcome
from da.benchmark.suite import find_suite, read_rows
from da.benchmark.tables import write_results


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """With results of all runs: 50 and 51 %."""
    monkeypatch.chdir(tmp_path)
    suite = toy_suite(tmp_path)
    write_results(suite, pretend_all(suite, tmp_path / "first", 0.5))
    return suite


def again(suite, accuracies, row="mmd/far"):
    """Status of `da reproduce` if new runs come to these accuracies."""
    method, _, task = row.partition("/")
    for run, accuracy in zip(plan(suite, suite.folder / "again", [method], [task]), accuracies, strict=True):
        pretend(run, accuracy)
    return call("reproduce", f"toy/{row}", "--runs", suite.folder / "again")


def test_the_interval_is_that_of_the_mean_of_new_seeds(suite):
    # n = 2 values 50 and 51: t(1) = 12.706, s = 0.7071
    for count, half in ((2, 12.706 * 0.7071), (1, 12.706 * 0.7071 * 1.5**0.5)):
        found = stated(suite, "mmd", ["far"], count)
        assert found.mean == pytest.approx(50.5)
        assert found.half_width == pytest.approx(half, rel=1e-3)


def test_it_is_never_narrower_than_the_tolerance(suite):
    rows = suite.results.read_text().replace("0.51000", "0.50000")
    suite.results.write_text(rows)
    assert stated(suite, "mmd", ["far"], 2).half_width == suite.tolerance == 1.0


@pytest.mark.parametrize(("accuracies", "status", "said"), [((0.55, 0.56), 0, "inside"), ((0.7, 0.7), 1, "OUTSIDE")])
def test_inside_is_0_and_outside_is_1(suite, capsys, accuracies, status, said):
    assert again(suite, accuracies) == status
    out = capsys.readouterr().out
    assert "stated: 50.5 ± 6.4 % (2 seeds), of " in out
    assert f"toy/mmd/far: {50 * sum(accuracies):.2f} is {said} [41.52, 59.48]" in out


def test_without_a_task_the_mean_over_all_is_compared(suite, capsys):
    for run in pretend_all(suite, suite.folder / "again", 0.5, methods=["mmd"]):
        pretend(run, 0.4 if run.key.task == "far" else 0.6)
    assert call("reproduce", "toy/mmd", "--runs", suite.folder / "again") == 0
    assert "here:   50.0 ± 0.0 % (2 seeds)" in capsys.readouterr().out


def test_a_published_number_has_its_own_tolerance():
    suite = find_suite("office31")
    found = stated(suite, "dann", ["amazon-webcam"], 3)
    (theirs,) = [
        float(row["accuracy"])
        for row in read_rows(suite.published)
        if (row["row"], row["source"], row["target"]) == ("dann", "amazon", "webcam")
    ]
    assert found[:2] == (theirs, suite.tolerance) == (theirs, 3.0)
    assert "TLL README" in found.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toy/dann"], "toy has no row 'dann'; there are source_only, mmd, tuned"),
        (["toy/mmd/middle"], "toy has no task 'middle'; there are near, far"),
        (["toy"], "toy names no row: give SUITE/METHOD or SUITE/METHOD/TASK"),
        (["nothing/mmd"], "there is no suite 'nothing'; there are "),
        (["toy/mmd", "--jobs", "0"], "--jobs 0: at least one run at a time"),
    ],
)
def test_bad_input_is_2_and_one_line(suite, capsys, words, message):
    assert call("reproduce", *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_nothing_to_compare_with_is_said_before_anything_is_trained(suite, capsys):
    suite.results.unlink()
    assert call("reproduce", "toy/mmd") == 2
    assert "has no complete results of mmd on near, far to compare with" in capsys.readouterr().err


def test_a_run_that_failed_is_no_number(suite, capsys):
    (first, _) = plan(suite, suite.folder / "again", ["mmd"], ["far"])
    pretend(first, 0.5)
    outcomes = {first.key: Outcome("failed", "no memory")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("da.benchmark.reproduce.train_missing", lambda *_: outcomes)
        assert call("reproduce", "toy/mmd/far", "--runs", suite.folder / "again") == 2
    said = capsys.readouterr()
    assert "failed    mmd far seed 0: no memory" in said.out
    assert said.err == "error: not all runs of toy/mmd/far came out, so there is nothing to compare\n"
