"""`da report` of a search by Optuna."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from written_results import write_result

from da.report.cli import main
from da.report.searches import best_so_far, importance, read_studies, search_section
from da.sweep.search import open_storage


def write_search(file, n=30):
    """A study whose objective is x alone; the third trial was pruned, the fourth failed."""
    study = optuna.create_study(study_name="mine", storage=open_storage(str(file)), direction="maximize")
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    for number in range(n):
        trial = study.ask(space)
        if number == 2:
            trial.report(trial.params["x"], 0)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif number == 3:
            trial.set_user_attr("reason", "no memory")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, trial.params["x"])
    return study.get_trials()


def test_the_option_that_makes_the_objective_is_the_important_one(tmp_path):
    write_search(tmp_path / "search.journal")
    (study,) = read_studies([tmp_path / "search.journal"])
    weights = importance(study)
    assert list(weights) == ["x", "y"]
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["x"] > 0.9


def test_there_is_no_importance_of_one_trial(tmp_path):
    write_search(tmp_path / "search.journal", n=1)
    (study,) = read_studies([tmp_path / "search.journal"])
    assert importance(study) == {}
    assert "too few trials" in search_section([study]).text[1]


def test_the_history_is_the_running_maximum_of_the_trials_that_were_done(tmp_path):
    trials = write_search(tmp_path / "search.journal", n=8)
    done = [trial.number for trial in trials if trial.number not in (2, 3)]
    x = [trial.params["x"] for trial in trials]
    assert best_so_far(trials) == [(k, max(x[j] for j in done if j <= k)) for k in done]


def test_every_trial_stands_in_the_table_the_best_one_first_and_the_failed_one_with_its_reason_last(tmp_path):
    trials = write_search(tmp_path / "search.journal", n=8)
    (study,) = read_studies([tmp_path / "search.journal"])
    section = search_section([study])
    rows = section.sheets[0].rows
    best = max((trial for trial in trials if trial.state.name == "COMPLETE"), key=lambda trial: trial.params["x"])
    assert rows[0][1:3] == [str(best.number), "done"]
    assert [row[2] for row in rows] == ["done"] * 6 + ["pruned", "failed"]
    assert rows[-1][0].endswith("(no memory)")
    history = {trace["name"]: trace["x"] for trace in section.figures[0]["data"]}
    assert history["pruned"] == [2]
    assert history["failed"] == [3]


@pytest.mark.parametrize("given", ["", "search.journal"])
def test_the_page_of_runs_beside_a_search_shows_it(given, tmp_path):
    runs = tmp_path / "runs"
    for lr in (0.1, 0.2):
        write_result(runs / f"lr{lr}", config={"optimizer": {"lr": lr}})
    write_search(runs / "search.journal", n=6)
    assert main([str(runs / given), "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "mine: objective of each trial" in page
    assert "mine: importance of each option" in page


def test_a_search_that_is_not_there_is_named(tmp_path, capsys):
    write_result(tmp_path / "one")
    assert main([str(tmp_path / "search.journal"), "--out", str(tmp_path / "page")]) == 1
    assert "search.journal doesn't exist" in capsys.readouterr().err
