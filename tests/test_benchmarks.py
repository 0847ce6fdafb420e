"""The committed tables are those that the committed results give, and a slice of each benchmark is run again."""

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import call, config, options

from da.auto.cli import training_words
from da.auto.plan import candidates, read_settings, shortened
from da.benchmark.plan import Key, plan
from da.benchmark.suite import find_suite, read_rows, task_name
from da.run import run
from da.settings import config_hash

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "benchmarks/digits"
REAL_DATA = Path(os.environ.get("DA_DATA_ROOT") or "nowhere")


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_lengths_is_made_of_the_results():
    assert (DIGITS / "length.md").read_text() == load(DIGITS / "tables.py").page()


def test_readme_shows_the_tables():
    subprocess.run([sys.executable, ROOT / "scripts/make_readme.py", "--check"], check=True)


def test_every_term_and_discrepancy_was_run_at_the_default_it_has_now():
    rows = list(csv.DictReader((ROOT / "benchmarks/terms/results.csv").read_text().splitlines()))
    wanted = {"source_only", *(f"align-{name}" for name in options("discrepancy"))}
    wanted |= {f"source_only+{name}" for name in options("term") if name != "align"}
    assert {(row["method"], row["seed"]) for row in rows} == {(name, seed) for name in wanted for seed in "012"}
    for method in wanted:
        first, _, term = method.partition("+")
        name, _, discrepancy = first.partition("-")
        cfg = config(
            "data=digits_demo",
            "trainer.max_epochs=4",
            "data.steps_per_epoch=100",
            f"method={name}",
            *([f"discrepancy={discrepancy}"] if discrepancy else []),
            *([f"term={term}"] if term else []),
        )
        for row in rows:
            if row["method"] == method:
                for part in (cfg, cfg.data):
                    part.seed = int(row["seed"])
                assert config_hash(cfg) == row["config_hash"], method


WEIGHTS = ROOT / "benchmarks/weights"


def test_the_weights_that_tune_themselves_were_run_as_the_configs_still_say():
    for row in csv.DictReader((WEIGHTS / "results.csv").read_text().splitlines()):
        if row["kind"] in ("constant", "ramp", "uncertainty"):  # the others have options of their own in sweep.sh
            cfg = config(
                "data=digits_demo",
                f"seed={row['seed']}",
                "trainer.max_epochs=4",
                "data.steps_per_epoch=100",
                f"method={row['method']}",
                "method.terms.align.layer=features",
                f"schedule@method.weights.align={row['kind']}",
            )
            assert config_hash(cfg) == row["config_hash"]


def test_the_figure_of_the_weights_is_drawn_from_all_seeds(tmp_path, monkeypatch):
    figure = load(WEIGHTS / "figure.py")
    monkeypatch.setattr(figure, "PICTURE", tmp_path / "weights.png")
    seeds = {(row["kind"], row["method"], row["seed"]) for row in figure.read("results")}
    assert len(seeds) == len(figure.KINDS) * len(figure.TITLES) * 3
    figure.draw()
    assert (tmp_path / "weights.png").stat().st_size > 10_000


TASKS = ROOT / "benchmarks/tasks"


def test_the_overview_of_the_tasks_is_made_of_all_results():
    assert (TASKS / "table.md").read_text() == load(TASKS / "tables.py").overview()


@pytest.mark.real
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="DA_DATA_ROOT names no folder")
@pytest.mark.parametrize(
    ("name", "task", "method"),
    [
        ("office_caltech10_surf", ("caltech10", "amazon"), "mcc"),
        ("amazon_reviews", ("books", "kitchen"), "dann"),
        ("sensors", ("smartwatch/3", "smartwatch/14"), "mmd"),
    ],
)
def test_a_run_of_the_tables_gives_its_number_again(name, task, method, tmp_path):
    suite = find_suite(name)
    (again,) = plan(suite, tmp_path, [method], [task_name(*task)], [0])
    found = run(config(*again.words, run_dir=tmp_path))["test"]["target_acc"]["last"]
    (row,) = [row for row in read_rows(suite.results) if row["config_hash"] == again.identity]
    # Another machine sums in another order: a few rows near the border may change sides.
    assert found == pytest.approx(float(row["target_acc_last"]), abs=0.01)


RANKING = ROOT / "benchmarks/ranking"
RANKING_TABLES = load(RANKING / "tables.py")
NETS = ("mobilenet_v2", "squeezenet1_0", "efficientnet_lite0")


def test_the_table_of_the_rankings_is_made_of_scores_and_runs():
    assert (RANKING / "table.md").read_text() == RANKING_TABLES.page()


def test_every_candidate_was_trained_as_the_config_still_says_and_scored():
    runs = RANKING_TABLES.read(RANKING / "results.csv")
    found = {(*RANKING_TABLES.key(row), row["method"], row["seed"]): row["config_hash"] for row in runs}
    assert len(found) == len(runs)
    wanted, files = set(), set()
    for task in RANKING_TABLES.read(RANKING / "candidates.csv"):
        experiment, target = task["experiment"], task["target"]
        keys = {(net, experiment, source, target) for net in NETS for source in task["sources"].split()}
        wanted |= {(*key, method, seed) for key in keys for method in task["methods"].split() for seed in "012"}
        for labels in task["labels"].split():
            files.add(RANKING / f"scores/{experiment}-{target}-{labels}.csv")
            rows = RANKING_TABLES.read(RANKING / f"scores/{experiment}-{target}-{labels}.csv")
            assert {RANKING_TABLES.key(row) for row in rows} == keys
            assert {row["target_labels"] for row in rows} == {labels}
    assert found.keys() == wanted
    assert set((RANKING / "scores").glob("*")) == files
    for net, data, source, target, method, seed in sorted(wanted)[::20]:
        task = f"data.source={source}", f"data.target={target}", f"method={method}", f"seed={seed}"
        hashed = config_hash(config(f"experiment={data}", f"net={net}", *task))
        assert hashed == found[net, data, source, target, method, seed]


@pytest.mark.real
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="DA_DATA_ROOT names no folder")
def test_a_ranking_gives_its_scores_again(tmp_path):
    words = "experiment=office_caltech10", "net=squeezenet1_0", "data.source=dslr", "data.target=webcam"
    assert call("rank", *words, "--rows", "1000", "--target-labels", "few", "--out", tmp_path / "again.csv") == 0
    (again,) = RANKING_TABLES.read(tmp_path / "again.csv")
    rows = RANKING_TABLES.read(RANKING / "scores/office_caltech10-webcam-few.csv")
    (row,) = [row for row in rows if RANKING_TABLES.key(row) == RANKING_TABLES.key(again)]
    for score in RANKING_TABLES.SCORES:
        assert bool(row[score]) == bool(again[score])
        if row[score]:
            assert float(again[score]) == pytest.approx(float(row[score]), rel=0.02, abs=0.01), score


AUTO = ROOT / "benchmarks/auto"


def test_the_table_of_the_searches_is_made_of_their_results_and_these_are_of_the_configs_as_they_are():
    runner = load(AUTO / "run.py")
    rows = read_rows(AUTO / "results.csv")
    assert (AUTO / "table.md").read_text() == runner.page(rows)
    found = {(row["suite"], row["task"], int(row["seed"])): row for row in rows}
    wanted = {search.key: search for search in runner.searches(runner.SUITES, Path("runs"), [0])}
    assert len(rows) == len(found)
    assert found.keys() == wanted.keys()
    settings, _ = read_settings([])
    assert {row["validator"] for row in rows} == {settings.by}
    for key in sorted(wanted)[::8]:
        _, words = training_words(settings, wanted[key].words)
        (chosen,) = [one for one in candidates(settings, words) if one.name == found[key]["chosen"]]
        assert config_hash(shortened([*words, *chosen.words], 1.0, Path("runs"))) == found[key]["config_hash"]


@pytest.mark.real
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="DA_DATA_ROOT names no folder")
def test_a_search_comes_out_again(tmp_path):
    runner = load(AUTO / "run.py")
    every = runner.searches(["office_caltech10_surf"], tmp_path, [0])
    (again,) = [search for search in every if search.key[1] == "dslr-webcam"]
    print(runner.do(again, 1))
    (row,) = [
        row for row in read_rows(AUTO / "results.csv") if tuple(row[k] for k in ("suite", "task")) == again.key[:2]
    ]
    found = runner.found(again)
    assert float(found["auto"]) == pytest.approx(float(row["auto"]), abs=0.02)
    assert float(found["source_only"]) == pytest.approx(float(row["source_only"]), abs=0.02)


SELECTION = ROOT / "benchmarks/selection"


def test_the_table_of_the_validators_is_made_of_the_runs_and_these_are_runs_of_the_suites():
    tables = load(SELECTION / "tables.py")
    assert (SELECTION / "table.md").read_text() == tables.page()
    for file in (SELECTION / "results").glob("*.csv"):
        suite = find_suite(f"selection/{file.stem}")
        known = {(row["source"], row["target"], row["method"], row["seed"]): row for row in read_rows(suite.results)}
        rows = read_rows(file)
        last = max(int(row["epoch"]) for row in rows)
        for row in rows:
            stated = known[row["source"], row["target"], row["method"], row["seed"]]
            assert row["config_hash"] == stated["config_hash"]
            # There, the validated rows are the test rows.
            if suite.name == "selection/office_caltech10" and int(row["epoch"]) == last:
                assert float(row["oracle_target_acc"]) == pytest.approx(float(stated["target_acc_last"]), abs=0.01)


def test_the_table_of_the_epochs_is_made_of_the_same_rows(tmp_path):
    epochs = load(SELECTION / "epochs.py")
    assert (SELECTION / "epochs.md").read_text() == epochs.page()
    file = tmp_path / "planted.csv"
    file.write_text(
        "data,source,target,method,seed,config_hash,epoch,oracle_target_acc,bnm,dev\n"
        "planted,a,b,mmd,0,x,1,0.90,0.7,0.1\nplanted,a,b,mmd,0,x,0,0.70,0.7,0.4\nplanted,a,b,mmd,0,x,2,0.80,0.2,0.3\n"
        "planted,a,b,shot,0,y,0,0.60,0.1,\nplanted,a,b,shot,0,y,1,0.62,0.3,0.9\nplanted,a,b,shot,0,y,2,0.50,0.2,\n"
    )
    assert epochs.table(epochs.read(file)).splitlines()[2:] == [
        "| *ORACLE (target labels)* | 2 | +11.00 | 0.00 | 100 % | 0 % | +10.0 |",
        "| bnm | 2 | +1.00 | 10.00 | 50 % | 50 % | -10.0 |",
        "| *the last epoch* | 2 | +0.00 | 11.00 | 0 % | 0 % | +0.0 |",
        "| dev | 1 | -10.00 | 20.00 | 0 % | 100 % | -10.0 |",
    ]


TRANSFER = ROOT / "benchmarks/transfer"


def test_the_table_and_the_figure_between_two_networks_are_made_of_the_measurements(tmp_path, monkeypatch):
    curve = load(TRANSFER / "curve.py")
    assert (TRANSFER / "alpha.md").read_text() == curve.page()
    monkeypatch.setattr(curve, "PICTURE", tmp_path / "alpha.png")
    curve.draw()
    assert (tmp_path / "alpha.png").stat().st_size > 10_000


@pytest.mark.real
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="DA_DATA_ROOT names no folder")
def test_a_cell_of_transfer_comes_out_again(tmp_path):
    """From scratch on five labels a class: 200 steps of ResNet-20."""
    suite, key = find_suite("transfer/cifar10_halves"), Key("scratch", "labels_per_class5", 0)
    (one,) = (one for one in plan(suite, Path("runs"), methods=[key.method], seeds=[key.seed]) if one.key == key)
    again = run(config(*one.words, run_dir=tmp_path))
    (row,) = (row for row in read_rows(suite.results) if row["config_hash"] == one.identity)
    assert again["config_hash"] == row["config_hash"]
    # Another machine sums in another order, and 200 steps from random weights let that grow.
    assert again["test"]["target_acc"]["last"] == pytest.approx(float(row["target_acc_last"]), abs=0.03)


@pytest.mark.real
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="DA_DATA_ROOT names no folder")
def test_a_quick_slice_adapts_usps_to_mnist(tmp_path):
    """A tenth of the steps: above source-only by more than its whole spread over the seeds."""
    accuracy = {}
    for method in ("source_only", "mcc"):
        short = ("trainer.max_epochs=2", "data.steps_per_epoch=150", "data.val_rows=500")
        cfg = config("experiment=digits_usps_mnist", f"method={method}", *short, run_dir=tmp_path / method)
        accuracy[method] = run(cfg)["test"]["target_acc"]["last"]
    assert accuracy["mcc"] > accuracy["source_only"] + 0.03
