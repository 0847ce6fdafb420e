"""Results files: which are found, which are refused, which are repetitions."""

import json
from pathlib import Path

import pytest

from da.report.results import Result, find_results, newest, repetitions

COMPLETE = {
    "schema": "da.results/1",
    "status": "complete",
    "error": None,
    "method": "dann",
    "data": "digits",
    "net": "lenet",
    "source": "usps",
    "target": "mnist",
    "seed": 1,
    "config_hash": "0123456789ab",
    "selection_metric": "infomax",
    "target_labels": ["selection"],
    "test": {"source_acc": {"last": 0.98, "selected": 0.97}, "target_acc": {"last": 0.91, "selected": 0.9}},
    "validators": {"entropy": -0.1},
    "oracle": {"best_target_acc": 0.92},
    "cost": {"seconds": 61.2, "peak_memory_mib": 9.5, "parameters": 12, "macs": None},
}


def write(folder: Path, content: dict) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def run(seed: int = 0, config_hash: str = "a", folder: str = "run", **changes) -> Result:
    identity = {"method": "dann", "data": "digits", "net": "lenet", "source": "usps", "target": "mnist"}
    everything = {"status": "complete", "error": None, "seed": seed, "config_hash": config_hash, **identity, **changes}
    return Result(folder=Path(folder), **everything)


def test_every_run_below_a_path_is_found_once_and_pretraining_is_not_a_run(tmp_path):
    first = write(tmp_path / "a" / "b", COMPLETE)
    write(first / "pretrain", COMPLETE)
    write(tmp_path / "c", {**COMPLETE, "seed": 2})
    found = find_results([tmp_path, first / "..", first / "results.json"])
    assert [(one.folder.name, one.seed) for one in found] == [("b", 1), ("c", 2)]


def test_a_result_says_what_the_file_says(tmp_path):
    write(tmp_path / "a", COMPLETE)
    (tmp_path / "a" / ".hydra").mkdir()
    (tmp_path / "a" / ".hydra" / "overrides.yaml").write_text("- method=dann\n- seed=1\n- +weights.align.high=0.5\n")
    (one,) = find_results([tmp_path])
    assert one.target_acc == {"last": 0.91, "selected": 0.9, "oracle": 0.92}
    assert (one.source_acc["last"], one.validators, one.seconds) == (0.98, {"entropy": -0.1}, 61.2)
    assert one.network == {"parameters": 12, "macs": None}
    assert (one.task, one.target_labels, one.overrides) == ("usps→mnist", ("selection",), {"weights.align.high": "0.5"})


def test_a_failed_run_needs_no_accuracy(tmp_path):
    write(tmp_path / "a", {k: v for k, v in COMPLETE.items() if k != "test"} | {"status": "failed", "error": "nan"})
    assert [(one.status, one.error) for one in find_results([tmp_path])] == [("failed", "nan")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "isn't valid JSON"),
        ("[]", "has schema 'list', expected 'da.results/1'"),
        ('{"schema": "da.results/9"}', "has schema 'da.results/9', expected 'da.results/1'"),
        (json.dumps({**COMPLETE, "status": "done"}), "has status 'done', expected one of"),
        (json.dumps({k: v for k, v in COMPLETE.items() if k != "seed"}), r"lacks \['seed'\]"),
        (json.dumps({k: v for k, v in COMPLETE.items() if k != "test"}), r"lacks \['test'\]"),
        (json.dumps({**COMPLETE, "test": {"target_acc": {"last": "91"}}}), "last is '91', not a number"),
        (json.dumps({**COMPLETE, "test": [1]}), "doesn't have the form"),
    ],
)
def test_a_file_of_another_form_is_refused_by_its_name(tmp_path, text, said):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        find_results([tmp_path])
    assert str(tmp_path / "results.json") in str(error.value)


def test_a_missing_path_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere doesn't exist: give a run's folder"):
        find_results([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"no results\.json at or below"):
        find_results([tmp_path])


def test_a_run_found_twice_counts_once_the_newest():
    runs = [run(written=1, folder="old"), run(written=3, folder="new"), run(written=2, folder="between"), run(seed=1)]
    assert [one.folder.name for one in newest(runs)] == ["new", "run"]


def test_seeds_are_repetitions_even_when_each_has_a_hash_of_its_own():
    (group,) = repetitions([run(seed, config_hash=f"hash {seed}") for seed in range(3)])
    assert (group.name, len(group.runs)) == ("dann", 3)


def test_other_overrides_are_never_pooled_and_name_the_group():
    sweep = [
        run(seed, f"{seed}{high}", overrides={"net.width": "64", "weights.align.high": high})
        for seed, high in ((0, "0.1"), (1, "0.1"), (0, "1.0"), (2, "1.0"))
    ]
    assert {group.name: [one.seed for one in group.runs] for group in repetitions(sweep)} == {
        "dann (weights.align.high=0.1)": [0, 1],
        "dann (weights.align.high=1.0)": [0, 2],
    }


def test_other_overrides_are_not_pooled_when_their_seeds_differ():
    assert len(repetitions([run(0, overrides={"weights.align.high": "0.1"}), run(1, "b")])) == 2


def test_without_overrides_the_hash_divides_one_seed_run_twice():
    groups = repetitions([run(0, "a"), run(0, "b"), run(1, "a")])
    assert {group.name: len(group.runs) for group in groups} == {"dann (config a)": 2, "dann (config b)": 1}


@pytest.mark.parametrize("change", [{"net": "resnet50"}, {"target_labels": ("labeled",)}, {"data": "office31"}])
def test_another_net_another_use_of_labels_and_other_data_are_never_pooled(change):
    assert len(repetitions([run(0), run(1, **change)])) == 2


def test_a_setting_may_belong_to_a_task():
    runs = [run(0, overrides={"experiment": "u2m"}), run(0, "b", target="svhn", overrides={"experiment": "u2s"})]
    assert [len(group.runs) for group in repetitions(runs)] == [2]


def test_bounds_stand_first_and_last():
    names = ("target_only", "wdgrl", "coral", "source_only")
    assert [g.method for g in repetitions([run(method=name) for name in names])] == [
        "source_only",
        "coral",
        "wdgrl",
        "target_only",
    ]
