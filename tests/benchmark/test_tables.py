"""results.csv of the folders of the runs, table.md of results.csv."""

from pathlib import Path

from suites import pretend, pretend_all, toy_suite

from da.benchmark.plan import plan
from da.benchmark.suite import read_rows
from da.benchmark.tables import page, write_results


def test_the_table_is_made_of_results_csv_and_says_how_many_runs_there_are(tmp_path):
    suite = toy_suite(tmp_path)
    pretend_all(suite, tmp_path / "runs", 0.5, methods=["mmd"])
    runs = plan(suite, tmp_path / "runs")
    assert len(write_results(suite, runs)) == 4
    text = page(suite)
    assert "4 of 12 runs, 2 seeds, 3 steps" in text
    # two seeds a point apart: t(1) = 12.706, s / sqrt(2) = 0.5
    assert "| mmd | 50.5 ± 6.4 | 50.5 ± 6.4 | **50.5 ± 6.4** |" in text
    for run in runs:
        (run.folder / "results.json").unlink(missing_ok=True)
    assert page(suite) == text


def test_all_rows_stay_that_are_of_the_suite_and_a_new_run_replaces_its_own(tmp_path):
    suite = toy_suite(tmp_path)
    first = pretend_all(suite, tmp_path / "first", 0.5)
    write_results(suite, first)
    suite.results.write_text(suite.results.read_text().replace(first[0].identity, "of-other-options"))
    second = plan(suite, tmp_path / "second")
    pretend(second[1], 0.9)
    rows = write_results(suite, second)
    assert rows == read_rows(suite.results)
    assert [row["config_hash"] for row in rows] == [run.identity for run in first[1:]]
    assert [row["target_acc_last"] for row in rows[:2]] == ["0.90000", "0.50000"]


def test_a_suite_may_ask_for_more_columns(tmp_path):
    suite = toy_suite(tmp_path, "columns: {selected: test.target_acc.selected, not_there: a.b}")
    rows = write_results(suite, pretend_all(suite, tmp_path, 0.5))
    assert {(row["selected"], row["not_there"]) for row in rows} == {("0.50000", ""), ("0.51000", "")}


def test_published_rows_stand_under_their_domains_and_not_where_they_say_nothing(tmp_path):
    suite = toy_suite(tmp_path, "published: published.csv")
    suite.published.write_text("method,source,target,accuracy,seen_in\nTheirs,here,far,81.0,a paper\n")
    write_results(suite, pretend_all(suite, tmp_path / "runs", 0.5))
    assert "| method | here → near | here → far | mean |" in page(suite)
    assert "| *Theirs* (a paper) |  | 81.0 |  |" in page(suite)


def test_methods_are_compared_with_source_only_by_seed(tmp_path):
    suite = toy_suite(tmp_path)
    for run in pretend_all(suite, tmp_path / "runs", 0.5):
        if run.key.method == "mmd":
            pretend(run, 0.7 + 0.01 * run.key.seed)
    write_results(suite, plan(suite, tmp_path / "runs"))
    assert "Better than source_only on the mean over the tasks: mmd (+20.0 ± 0.0)." in page(suite)


def test_the_name_of_a_suite_outside_of_the_checkout_is_that_of_its_folder(tmp_path):
    assert "`da benchmark mine`" in page(toy_suite(Path(tmp_path), name="mine"))
