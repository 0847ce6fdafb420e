"""`da select`: what is chosen by which score, the guard beside it, and that no label chooses."""

import json

import pytest
import yaml
from conftest import call

from da.report.results import find_results
from da.select.choice import choose, tasks
from da.select.guard import PANELS, judge
from da.select.selection import selected

PANEL, CERTAINTY = PANELS
RIGHT = dict.fromkeys(PANEL, 0.5)


def write(folder, method, seed=0, accuracy=0.5, config=None, data="toy", **scores):
    """The folder of a run that never was."""
    place = folder / data / method / f"seed{seed}"
    place.mkdir(parents=True)
    raw = {
        "schema": "da.results/1",
        "status": "complete",
        "method": method,
        "data": data,
        "net": "mlp",
        "source": "a",
        "target": "b",
        "seed": seed,
        "config_hash": f"{method}{seed}",
        "target_labels": [],
        "test": {"target_acc": {"last": accuracy, "selected": accuracy}, "source_acc": {"last": 1.0, "selected": 1.0}},
        "validators": scores,
        "selected": {"epoch": 0, "validators": {name: score + 1 for name, score in scores.items()}},
        "oracle": {"best_target_acc": accuracy},
    }
    (place / "results.json").write_text(json.dumps(raw))
    recipe = {"data": {"source": "a", "root": "anywhere"}, "method": {"a": method}, "optimizer": {"lr": 0.1}}
    (place / "config.yaml").write_text(yaml.safe_dump({**recipe, **(config or {})}))
    return place


def task_of(folder, weights="last"):
    (task,) = tasks(find_results([folder]), weights)
    return task


def names(choice):
    return [option.name for option, _ in choice.ranked]


def test_the_highest_mean_over_the_seeds_is_chosen_whatever_the_labels_say(tmp_path):
    for seed, (good, bad) in enumerate([(3.0, 1.0), (2.0, 2.5)]):
        write(tmp_path, "mmd", seed, accuracy=0.1, infomax=good)
        write(tmp_path, "dann", seed, accuracy=0.9, infomax=bad)
    choice = choose(task_of(tmp_path), ["infomax"])
    assert names(choice) == ["mmd", "dann"]
    assert [score.mean for _, score in choice.ranked] == [2.5, 1.75]
    assert names(choose(task_of(tmp_path), ["oracle"])) == ["dann", "mmd"]
    assert [score.mean for _, score in choose(task_of(tmp_path, "selected"), ["infomax"]).ranked] == [3.5, 2.75]


def test_an_ensemble_is_the_mean_of_ranks(tmp_path):
    write(tmp_path, "a", x=1.0, y=9.0, z=5.0)
    write(tmp_path, "b", x=2.0, y=1.0, z=5.0)
    write(tmp_path, "c", x=3.0, y=5.0, z=4.0)
    # Ranks of a, b, c: by x 1 2 3, by y 3 1 2, by z 2.5 2.5 1.
    choice = choose(task_of(tmp_path), ["x", "y", "z"])
    assert names(choice) == ["a", "c", "b"]
    assert [score.mean for _, score in choice.ranked] == pytest.approx([6.5 / 3, 2, 5.5 / 3])
    assert names(choose(task_of(tmp_path), ["ensemble"])) == ["a", "c", "b"]


def test_what_lacks_the_score_is_named_and_not_compared(tmp_path):
    write(tmp_path, "mmd", infomax=1.0, source_acc=0.9)
    write(tmp_path, "shot", infomax=2.0)
    choice = choose(task_of(tmp_path), ["source_acc"])
    assert names(choice) == ["mmd"]
    assert choice.left_out == {"shot": "its runs have no source_acc"}
    with pytest.raises(ValueError, match="no option of a→b has it; there are infomax, source_acc"):
        choose(task_of(tmp_path), ["snd"])


@pytest.mark.parametrize(("worse", "chosen"), [(1, "mmd"), (2, "source_only")])
def test_most_votes_against_it_bring_source_only_back(tmp_path, worse, chosen):
    write(tmp_path, "source_only", **RIGHT)
    scores = {name: 0.4 if i < worse else 0.6 for i, name in enumerate(PANEL)}
    write(tmp_path, "mmd", **scores, extra=1.0)
    task = task_of(tmp_path)
    one = selected(task, choose(task, ["extra"]))
    assert one.choice.best.name == "mmd"
    assert one.chosen.name == chosen
    assert one.verdict.in_favour == len(PANEL) - worse
    assert selected(task, choose(task, ["extra"]), guard=False).chosen.name == "mmd"


def test_the_guard_compares_the_same_seeds_and_a_tie_is_no_vote_for_it(tmp_path):
    for seed in (0, 1, 2):
        write(tmp_path, "source_only", seed, infomax=float(seed), bnm=1.0)
    for seed in (1, 2, 3):
        write(tmp_path, "mmd", seed, infomax=seed + 0.5, bnm=1.0)
    mmd, plain = task_of(tmp_path).options[1], task_of(tmp_path).options[0]
    verdict = judge(mmd, plain)
    assert verdict.seeds == (1, 2)
    assert verdict.votes == {"infomax": 0.5, "bnm": 0.0}
    assert not verdict.helps


def test_certainty_votes_only_where_nothing_better_does(tmp_path):
    write(tmp_path, "source_only", **RIGHT, **dict.fromkeys(CERTAINTY, 0.5))
    write(tmp_path, "mmd", **dict.fromkeys(PANEL, 0.6), **dict.fromkeys(CERTAINTY, 0.4))
    write(tmp_path, "mcc", **dict.fromkeys(CERTAINTY, 0.6))
    plain, mmd, mcc = sorted(
        task_of(tmp_path).options, key=lambda option: ("source_only", "mmd", "mcc").index(option.name)
    )
    assert judge(mmd, plain).votes.keys() == set(PANEL)
    assert judge(mmd, plain).helps
    assert judge(mcc, plain).votes.keys() == set(CERTAINTY)


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        ({}, "there is no source_only run of this task"),
        ({"seed": 5, **RIGHT}, "mmd and source_only have no seed in common"),
        ({"other": 1.0}, "have none of the scores"),
        ({"config": {"optimizer": {"lr": 0.2}}, **RIGHT}, "were trained with other optimizer.lr"),
    ],
)
def test_without_a_fair_baseline_there_is_no_guard_and_it_says_so(tmp_path, baseline, said, capsys):
    write(tmp_path, "mmd", **dict.fromkeys(PANEL, 0.6))
    if baseline:
        write(tmp_path, "source_only", **baseline)
    assert call("select", tmp_path, "--by", PANEL[0]) == 0
    text = capsys.readouterr().out
    assert "no guard against negative transfer: " in text
    assert said in text
    assert "chosen: mmd" in text


def test_the_method_and_where_files_lie_are_no_difference_of_recipe(tmp_path):
    write(tmp_path, "mmd", **dict.fromkeys(PANEL, 0.7), config={"data": {"source": "a", "root": "elsewhere"}})
    write(tmp_path, "source_only", **RIGHT)
    task = task_of(tmp_path)
    assert selected(task, choose(task, [PANEL[0]])).verdict.helps


def test_what_is_printed_names_the_choice_the_oracle_and_the_folders(tmp_path, capsys):
    places = [write(tmp_path, "mmd", accuracy=0.7, infomax=0.6), write(tmp_path, "source_only", infomax=0.5)]
    write(tmp_path, "dann", accuracy=0.9, infomax=0.1)
    assert call("select", tmp_path) == 0
    text = capsys.readouterr().out
    assert f"chosen: mmd, in {places[0]}" in text
    assert "ORACLE, by target labels: dann, 90.0 %, 20.0 points above the choice" in text
    assert "1 of 1 votes are for it against source_only (infomax +0.1)" in text
    assert call("select", tmp_path, "--format", "json", "--out", tmp_path / "out.json") == 0
    records = json.loads((tmp_path / "out.json").read_text())["records"]
    assert [(one["method"], one["chosen"]) for one in records] == [("mmd", 1), ("source_only", 0), ("dann", 0)]


def test_each_task_has_its_own_choice(tmp_path):
    for data, best in (("one", "mmd"), ("two", "dann")):
        for method in ("mmd", "dann"):
            write(tmp_path, method, data=data, infomax=float(method == best))
    assert [choose(task, ["infomax"]).best.name for task in tasks(find_results([tmp_path]))] == ["mmd", "dann"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--by", "infomax,oracle"), 2, "--by takes validators, or one of oracle and ensemble"),
        (("--by", "nothing"), 1, "--by nothing: no option of a→b has it; there are infomax"),
        (("--weights", "best"), 2, "invalid choice"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, words, status, said, capsys):
    write(tmp_path, "mmd", infomax=1.0)
    assert call("select", tmp_path, *words) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_failed_runs_choose_nothing(tmp_path, capsys):
    place = write(tmp_path, "mmd", infomax=1.0)
    raw = json.loads((place / "results.json").read_text()) | {"status": "failed", "error": "broken"}
    (place / "results.json").write_text(json.dumps(raw))
    assert call("select", tmp_path) == 1
    assert "none of the runs is complete" in capsys.readouterr().err
