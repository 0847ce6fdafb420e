"""What a suite.yaml stands for."""

import re
from pathlib import Path

import pytest
from conftest import config
from suites import toy_suite

from da.benchmark.plan import Key, folder_of, plan
from da.benchmark.suite import KEYS, find_suite, read_suite, suite_names
from da.settings import config_hash

ROOT = Path(__file__).parents[2]


def test_every_row_task_and_seed_is_a_run_and_what_it_starts_from_comes_before(tmp_path):
    runs = plan(toy_suite(tmp_path), Path("runs"))
    keys = [run.key for run in runs]
    assert len(keys) == len(set(keys)) == 3 * 2 * 2
    for run in runs:
        assert all(keys.index(other) < keys.index(run.key) for other in run.needs)
    assert {run.needs for run in runs if run.key == Key("tuned", "far", 1)} == {(Key("source_only", "far", 1),)}


def test_a_run_has_the_hash_of_its_options(tmp_path):
    for run in plan(toy_suite(tmp_path), Path("elsewhere")):
        assert config_hash(config(*run.words)) == run.config_hash


def test_a_run_that_starts_from_another_is_the_same_wherever_the_runs_are(tmp_path):
    suite = toy_suite(tmp_path)
    (_, here), (_, there) = (plan(suite, Path(runs), ["tuned"], ["far"], [1]) for runs in ("here", "there"))
    assert f"init_from={folder_of(here.needs[0], suite, Path('here'))}/checkpoints/last.ckpt" in here.words
    assert here.config_hash != there.config_hash
    assert here.identity == there.identity


def test_some_rows_bring_what_they_start_from(tmp_path):
    runs = plan(toy_suite(tmp_path), Path("runs"), ["tuned"], ["near"], [1])
    assert [run.key for run in runs] == [Key("source_only", "near", 1), Key("tuned", "near", 1)]


def test_a_row_that_is_trained_once_has_one_run_a_seed(tmp_path):
    more = "  start: {once: true, options: [method=source_only]}\n  onward: [method=mmd, 'init_from={start}']"
    runs = plan(toy_suite(tmp_path, more), Path("runs"), ["onward"])
    assert [run.key.method for run in runs].count("start") == 2
    assert {run.needs for run in runs if run.key.method == "onward"} == {(Key("start", "", 0),), (Key("start", "", 1),)}


def test_a_pair_of_domains_is_set_and_composed_alike():
    suite = find_suite("sensors")
    for run in plan(suite, Path("runs"), ["mmd"], seeds=[2]):
        assert config_hash(config(*run.words)) == run.config_hash


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("metods: [mmd]", "it has ['metods'], but the keys are"),
        ("expected: {published: 3}", "give results, or published with its tolerance and a file"),
        ("  a/b: [method=mmd]", "the name 'a/b' may have letters, digits"),
        ("title: [", "is no suite: while parsing"),
    ],
)
def test_a_suite_with_a_mistake_is_refused(tmp_path, more, message):
    with pytest.raises(ValueError, match="is no suite") as error:
        toy_suite(tmp_path, more)
    assert message in str(error.value)


def test_a_row_that_starts_from_itself_is_refused(tmp_path):
    suite = toy_suite(tmp_path, "  a: [method=mmd, 'init_from={b}']\n  b: [method=mmd, 'init_from={a}']")
    with pytest.raises(ValueError, match="row a starts from itself"):
        plan(suite, Path("runs"))


def test_the_suites_of_the_checkout_are_found_by_name_folder_and_file():
    assert {"digits", "pacs", "office31", "domainnet"} <= set(suite_names())
    suite = find_suite("pacs")
    assert suite == find_suite(str(suite.folder)) == find_suite(str(suite.folder / "suite.yaml"))


def test_without_a_checkout_a_path_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr("da.benchmark.suite.BENCHMARKS", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="suites lie in the folder benchmarks of the repository"):
        find_suite("digits")
    assert toy_suite(tmp_path).name == "toy"


def test_the_example_of_the_documentation_is_a_suite(tmp_path):
    text = (ROOT / "docs/pages/benchmarks.md").read_text()
    (example,) = re.findall(r'^```yaml title="benchmarks/mine/suite.yaml"\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    (tmp_path / "suite.yaml").write_text(example)
    suite = read_suite(tmp_path / "suite.yaml")
    assert len(plan(suite, Path("runs"), seeds=[0])) == len(suite.methods) * len(suite.tasks)


def test_the_documentation_names_every_key_and_every_suite():
    text = (ROOT / "docs/pages/benchmarks.md").read_text()
    assert [name for name in KEYS | set(suite_names()) if f"`{name}`" not in text] == []
