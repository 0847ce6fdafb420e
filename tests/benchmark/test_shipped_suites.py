"""The suites of benchmarks/: every run composes, and the committed results and tables are of these configurations."""

import copy
from pathlib import Path

import pytest
from conftest import check_options, config

from da.benchmark.plan import Key, plan
from da.benchmark.suite import find_suite, read_rows, suite_names
from da.benchmark.tables import page
from da.settings import config_hash

SUITES = suite_names()
DONE = [name for name in SUITES if find_suite(name).results.exists()]


@pytest.mark.parametrize("name", DONE)
def test_the_table_of_a_suite_is_made_of_its_results(name):
    suite = find_suite(name)
    assert suite.table.read_text() == page(suite)


@pytest.fixture
def composed(monkeypatch):
    """Every configuration that a plan composes; of the others it sets the seed and the domains only."""
    found = []

    def compose_config(words):
        found.append(config(*words))
        return copy.deepcopy(found[-1])

    monkeypatch.setattr("da.benchmark.plan.compose_config", compose_config)
    return found


@pytest.mark.parametrize("name", SUITES)
def test_every_run_of_a_suite_composes_and_its_results_are_of_these_configurations(name, composed):
    suite = find_suite(name)
    runs = {run.key: run for run in plan(suite, Path("runs"))}
    assert len({run.identity for run in runs.values()}) == len(runs)
    if name in DONE:
        rows = read_rows(suite.results)
        found = {Key(row["method"], row["task"], int(row["seed"])): row["config_hash"] for row in rows}
        assert found == {key: run.identity for key, run in runs.items()}
        assert len(rows) == len(found)
    assert len(composed) >= len(suite.methods)
    for cfg in composed:
        check_options(cfg)
    # Of one run a row: its words alone give the hash of the plan.
    for one in {key.method: each for key, each in runs.items()}.values():
        assert config_hash(config(*one.words)) == one.config_hash
