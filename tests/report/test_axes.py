"""Which runs may stand in one report."""

import json

import pytest
from written_results import write_failed, write_result, write_weights

from da.report.axes import rows_by_axes
from da.report.results import find_results


def rows(root, *axes, **options):
    return rows_by_axes(find_results([root]), axes, **options)


@pytest.fixture
def two_rates(tmp_path):
    for seed in (0, 1):
        for method in ("source_only", "mmd"):
            for rate in (0.01, 0.1):
                folder = tmp_path / f"{method}{seed}-{rate}"
                write_result(folder, method, seed, config={"optimizer": {"lr": rate}})
    return tmp_path


def test_seeds_tasks_methods_and_their_own_yaml_are_axes(tmp_path):
    for seed in (0, 1):
        for task in (("usps", "mnist"), ("mnist", "usps")):
            for method, own in (("mmd", {"terms": "align"}), ("dann", {"terms": "adversarial"})):
                folder = tmp_path / f"{method}{seed}{task[0]}"
                write_result(folder, method, seed, task, config={"method": own, "net": {"head": {"of": method}}})
    assert [(row.name, len(row.runs)) for row in rows(tmp_path)] == [("dann", 4), ("mmd", 4)]


def test_another_setting_is_refused_by_its_key_and_folders(two_rates):
    with pytest.raises(
        ValueError, match=r"differ in optimizer\.lr \(0\.01: .*mmd0-0\.01.*0\.1: .*--axis optimizer\.lr"
    ):
        rows(two_rates)


@pytest.mark.parametrize("options", [{"axes": ("optimizer.lr",)}, {"axes": ("optimizer",)}, {"by_settings": True}])
def test_a_named_axis_makes_rows(two_rates, options):
    found = rows_by_axes(find_results([two_rates]), **options)
    names = [f"{method} (optimizer.lr={rate})" for method in ("source_only", "mmd") for rate in (0.01, 0.1)]
    assert [(row.name, len(row.runs)) for row in found] == [(name, 2) for name in names]


def test_an_axis_of_another_key_does_not_help(two_rates):
    with pytest.raises(ValueError, match="differ in optimizer.lr"):
        rows(two_rates, "optimizer.lr_schedule", "net")


def test_a_methods_own_setting_is_no_axis_within_it(tmp_path):
    write_weights(tmp_path, values=(0.1, 1.0))
    with pytest.raises(ValueError, match=r"differ in method\.weights\.align\.high") as error:
        rows(tmp_path)
    assert "source_only0" not in str(error.value)
    found = {row.name: len(row.runs) for row in rows(tmp_path, "method.weights.align.high")}
    weights = {f"mmd (method.weights.align.high={value})": 6 for value in (0.1, 1.0)}
    assert found == {"source_only": 6} | weights


def test_a_setting_may_belong_to_a_task(tmp_path):
    write_result(tmp_path / "a", config={"trainer": {"max_epochs": 3}})
    write_result(tmp_path / "b", task=("mnist", "usps"), config={"trainer": {"max_epochs": 9}})
    assert [len(row.runs) for row in rows(tmp_path)] == [2]


def test_places_the_seed_and_other_validators_are_no_settings(tmp_path):
    write_result(tmp_path / "a", seed=0, config={"data": {"root": "/a"}, "validators": {"mine": {"k": 1}}, "runs": "x"})
    write_result(tmp_path / "b", seed=1, config={"data": {"root": "/b"}, "validators": {}, "init_from": None})
    assert [len(row.runs) for row in rows(tmp_path)] == [2]


def test_starts_from_the_run_of_the_same_seed_are_one_setting(tmp_path):
    for seed in (0, 1):
        write_result(
            tmp_path / str(seed), seed=seed, config={"init_from": f"runs/seed{seed}-{seed * 6:012x}/last.ckpt"}
        )
    assert [len(row.runs) for row in rows(tmp_path)] == [2]


def test_another_net_is_named_without_its_options(tmp_path):
    write_result(tmp_path / "a", net="lenet", config={"net": {"width": 20}})
    write_result(tmp_path / "b", net="dtn", config={"net": {"width": 64}})
    with pytest.raises(ValueError, match=r"differ in net \(") as error:
        rows(tmp_path)
    assert "net.width" not in str(error.value)
    assert [row.name for row in rows(tmp_path, "net")] == ["mmd (net=dtn)", "mmd (net=lenet)"]


def test_without_configurations_the_overrides_are_compared(tmp_path):
    for high in (0.1, 1.0):
        folder = write_result(tmp_path / str(high))
        (folder / "config.yaml").unlink()
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(
            json.dumps(["method=mmd", f"method.weights.align.high={high}"])
        )
    with pytest.raises(ValueError, match=r"differ in method\.weights\.align\.high"):
        rows(tmp_path)
    assert len(rows(tmp_path, by_settings=True)) == 2


def test_runs_that_settings_cannot_tell_apart_are_refused(tmp_path):
    for name in "ab":
        write_result(tmp_path / name)
    with pytest.raises(ValueError, match="both mmd on usps→mnist with seed 0, of config_hash"):
        rows(tmp_path, by_settings=True)


def test_only_failed_runs_are_refused_with_their_reason(tmp_path):
    write_failed(tmp_path / "a", "RuntimeError: out of memory")
    with pytest.raises(ValueError, match=r"none of 1 runs is complete \(.*RuntimeError: out of memory\)"):
        rows(tmp_path)


@pytest.mark.parametrize(("name", "text"), [("config.yaml", "- ["), ("config.yaml", "[1]"), ("data.json", "{")])
def test_a_broken_file_beside_the_results_is_named(tmp_path, name, text):
    folder = write_result(tmp_path / "a")
    (folder / name).write_text(text)
    (run,) = find_results([tmp_path])
    with pytest.raises(ValueError, match=name):
        _ = run.config, run.data_file
