"""Tables: what is averaged, what is not, and how it is written."""

import csv
import io
import json
from pathlib import Path

import pytest

from da.report.results import Result
from da.report.tables import comparison, render, runs_table


def run(last: float | None, seed: int = 0, target: str = "mnist", method: str = "dann", **changes) -> Result:
    folder = Path(f"runs/{method}-{target}-{seed}")
    identity = {"method": method, "data": "digits", "net": "lenet", "source": "usps", "target": target, "seed": seed}
    everything = {"folder": folder, "status": "complete", "error": None, "config_hash": "a", **identity}
    accuracies = {"target_acc": {"last": last, "selected": 0.5, "oracle": 0.75}, "source_acc": {"last": 0.99}}
    return Result(**{**everything, **accuracies, **changes})


def cells(results: list[Result], metric: str = "last") -> list[list[str]]:
    (sheet,) = comparison(results, metric).sheets
    return [sheet.columns, *sheet.rows]


def test_a_cell_is_mean_interval_and_number_of_seeds():
    # s = 0.02, t(0.975; 2) = 4.303: 4.303 * 2 / sqrt(3) = 5.0
    assert cells([run(0.90, 0), run(0.92, 1), run(0.94, 2)]) == [["method", "usps→mnist"], ["dann", "92.0 ± 5.0 (3)"]]


def test_one_seed_is_shown_without_an_interval():
    assert cells([run(0.931)])[1] == ["dann", "93.1 (1)"]


def test_the_average_needs_all_tasks():
    results = [run(0.9), run(0.7, target="svhn"), run(0.6, method="mmd")]
    assert cells(results) == [
        ["method", "usps→mnist", "usps→svhn", "average"],
        ["dann", "90.0 (1)", "70.0 (1)", "80.0 (1)"],
        ["mmd", "60.0 (1)", "-", "-"],
    ]


def test_the_interval_of_the_average_is_over_each_seeds_average():
    results = [run(0.9, 0), run(0.8, 1), run(0.7, 0, "svhn"), run(0.8, 1, "svhn")]  # each seed averages 0.8
    assert cells(results)[1][3] == "80.0 ± 0.0 (2)"


def test_an_average_over_other_seeds_has_no_interval_and_says_so():
    results = [run(0.9, 0), run(0.8, 1), run(0.7, 0, "svhn"), run(0.8, 2, "svhn")]
    assert cells(results)[1][3] == "80.0"
    assert any("same seeds" in note for note in comparison(results).notes)


def test_incomplete_runs_are_counted_and_never_averaged():
    failed = run(0.1, 1, status="failed", error="CUDA out\nof memory", folder=Path("runs/bad"))
    results = [run(0.9), failed, run(0.2, 2, status="running", folder=Path("runs/now"))]
    assert cells(results)[1] == ["dann", "90.0 (1)"]
    said = "not complete and not averaged: 2 runs: runs/bad (failed: CUDA out of memory); runs/now (running)"
    assert comparison(results).notes == [said]


def test_only_incomplete_runs_still_make_a_report():
    report = comparison([run(None, status="failed", error="nan")])
    assert (report.sheets, report.records) == ([], [])
    assert "1 run: runs/dann-mnist-0 (failed: nan)" in render(report, "table")


def test_duplicates_count_once_and_are_named():
    results = [run(0.1, written=1.0, folder=Path("runs/old")), run(0.9, written=2.0)]
    assert cells(results)[1] == ["dann", "90.0 (1)"]
    assert any(note.endswith("1 run: runs/old") for note in comparison(results).notes)


def test_different_configs_are_never_pooled():
    sweep = [run(0.6, overrides={"weights.align.high": "0"}), run(0.9, config_hash="b")]
    assert cells(sweep)[1:] == [["dann (weights.align.high=0)", "60.0 (1)"], ["dann", "90.0 (1)"]]


def test_settings_that_belong_to_a_task_are_told():
    results = [run(0.9, overrides={"steps": "10"}), run(0.8, target="svhn", config_hash="b")]
    assert any("usps→mnist: steps=10; usps→svhn: defaults" in note for note in comparison(results).notes)


def test_two_versions_of_the_code_are_told():
    results = [run(0.9, git_commit="1" * 40), run(0.9, 1, git_commit="2" * 40, git_dirty=True)]
    assert "versions of the code: 1111111, 2222222 with changes" in comparison(results).notes


def test_use_of_target_labels_has_a_dagger_and_a_footnote():
    results = [run(0.9, target_labels=("labeled", "oracle")), run(0.8, method="mmd")]
    assert [row[0] for row in cells(results)[1:]] == ["dann †", "mmd"]
    assert comparison(results).notes[0] == "† has used target labels (dann: labeled, oracle)"


def test_each_metric_is_read_and_an_oracle_is_called_one():
    assert cells([run(0.9)], "selected") == [["method", "usps→mnist"], ["dann", "50.0 (1)"]]
    assert cells([run(0.9)], "oracle") == [["method", "usps→mnist ORACLE"], ["dann", "75.0 (1)"]]
    assert "ORACLE" in comparison([run(0.9)], "oracle").title


def test_a_complete_run_without_the_accuracy_is_named():
    report = comparison([run(None), run(0.9, 1)])
    assert report.sheets[0].rows == [["dann", "90.0 (1)"]]
    assert any("without an accuracy 'last': 1 run: runs/dann-mnist-0" in note for note in report.notes)


def test_data_sets_have_a_table_each():
    report = comparison([run(0.9), run(0.8, data="office31")])
    assert "**digits**" in render(report, "markdown")
    assert "digits:" in render(report, "table")
    assert [(sheet.name, sheet.rows[0][1]) for sheet in report.sheets] == [
        ("digits", "90.0 (1)"),
        ("office31", "80.0 (1)"),
    ]


def test_markdown_escapes_what_would_end_a_cell():
    odd = [run(0.9, overrides={"x": "a|b*<"}), run(0.8, config_hash="b")]
    row = render(comparison(odd), "markdown").splitlines()[4]
    assert row == r"| dann (x=a\|b\*\<) | 90.0 (1) |"


def test_plain_text_is_as_wide_as_it_needs_to_be():
    many = [run(0.9, target=f"a_domain_with_a_long_name_{k}") for k in range(20)]
    lines = render(comparison(many), "table").splitlines()
    assert len(lines[2]) > 400
    assert len(lines[2]) == len(lines[3])
    assert lines[3].count("90.0 (1)") == 21


@pytest.mark.parametrize("form", ["csv", "json"])
def test_csv_and_json_hold_the_unrounded_numbers(form):
    text = render(comparison([run(1 / 3), run(0.9, 1)]), form)
    (record,) = csv.DictReader(io.StringIO(text)) if form == "csv" else json.loads(text)["records"]
    assert float(record["mean"]) == (1 / 3 + 0.9) / 2
    assert (record["task"], int(record["n"]), record["seeds"]) == ("usps→mnist", 2, "0 1")


def test_the_detail_table_has_a_row_for_each_run():
    report = runs_table([run(0.9, validators={"snd": 4.25}, seconds=61.24), run(0.8, 1), run(0.7, 2, status="failed")])
    assert report.sheets[0].rows == [
        ["dann", "digits", "usps→mnist", "0", "90.0", "50.0", "99.0", "4.25", "61.2", "runs/dann-mnist-0"],
        ["dann", "digits", "usps→mnist", "1", "80.0", "50.0", "99.0", "-", "-", "runs/dann-mnist-1"],
    ]
    assert [record["validator/snd"] for record in report.records] == [4.25, None]


def test_what_networks_cost_is_shown_in_millions_where_it_is_known():
    network = {"parameters": 2_000_000, "trainable_parameters": 431_080, "macs": None}
    report = runs_table([run(0.9, network=network), run(0.8, 1)])
    (sheet,) = report.sheets
    assert sheet.columns[-5:-2] == ["parameters [M]", "trainable parameters [M]", "macs [M]"]
    assert [row[-5:-2] for row in sheet.rows] == [["2", "0.4311", "-"], ["-", "-", "-"]]
    assert [record["trainable_parameters"] for record in report.records] == [431_080, None]
