"""`hydra/sweeper=optuna` maximises a validator; what it prunes follows from the scores."""

import statistics
import subprocess
import sys

import optuna
import pytest
from conftest import TOY, call
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from planted import environment

from da.sweep.endings import Ending
from da.sweep.search import Search, Settings, open_storage

KNOWN = "+validators.known={_target_: planted.Known, x: ${data.noise}, best: 0.3}"
SEARCH = ("train", "-m", "hydra/sweeper=optuna", *TOY, "method=source_only", KNOWN, "selection_metric=known")
NOISE = "data.noise=interval(0.0,1.0)"


def trials(folder):
    storage = open_storage(str(folder / "runs" / "search.journal"))
    (study,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=study, storage=storage).get_trials()


def options(**settings):
    return [f"hydra.sweeper.{key}={value}" for key, value in settings.items()]


@pytest.fixture
def search(tmp_path, monkeypatch, capfd):
    """Run a search in this process; return (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words, **settings):
        capfd.readouterr()
        status = call(*SEARCH, *words, *options(**settings))
        return status, *capfd.readouterr()

    return run


def test_tpe_learns_where_the_objective_is_high(tmp_path):
    """From U(0, 1), 18 or more of 30 trials fall within 0.15 of the optimum with a probability of 0.0006."""
    settings = Settings(str(tmp_path / "search.journal"), None, 40, 1, 0, 10, 0)
    search = Search(settings, {"x": FloatDistribution(0.0, 1.0)}, [], "name")
    while trials := search.ask():
        ((trial, words),) = trials
        x = trial.params["x"]
        assert words == [f"x={x}"]
        search.tell(trial, Ending(trial.number, "", "done", score=-((x - 0.3) ** 2)))
    found = [trial.params["x"] for trial in search.study.get_trials()]
    assert len(found) == 40
    assert sum(abs(x - 0.3) < 0.15 for x in found[10:]) >= 18


def test_a_search_goes_on_where_it_stood(search, tmp_path):
    assert search(NOISE, n_trials=2)[0] == 0
    first = [trial.params for trial in trials(tmp_path)]
    status, out, _ = search(NOISE, n_trials=4)
    found = trials(tmp_path)
    assert status == 0
    assert [trial.params for trial in found[:2]] == first
    for trial in found:
        assert trial.value == pytest.approx(-((trial.params["data.noise"] - 0.3) ** 2), abs=1e-6)
    best = max(found, key=lambda trial: trial.value)
    assert f"best of 4 is trial {best.number}," in out

    status, out, _ = search(NOISE, n_trials=4)
    assert (status, len(trials(tmp_path))) == (0, 4)
    assert "best of 4" in out
    assert "job  ended" not in out


def test_a_trial_is_pruned_if_and_only_if_it_is_below_the_median_of_those_that_came_out(search, tmp_path):
    status, out, _ = search(NOISE, n_trials=10, startup_trials=2, startup_epochs=0)
    assert status == 0
    complete = []
    for trial in trials(tmp_path):
        value = -((trial.params["data.noise"] - 0.3) ** 2)
        below = len(complete) >= 2 and value < statistics.median(complete)
        assert trial.state is (TrialState.PRUNED if below else TrialState.COMPLETE)
        if not below:
            complete.append(value)
    assert 0 < len(complete) < 10
    assert f"{len(complete)} done, 0 skipped, {10 - len(complete)} pruned, 0 failed" in out


def test_a_trial_that_fails_does_not_end_the_search(search, tmp_path):
    status, _, _ = search("data.noise=0.2,-x", n_trials=5)
    assert status == 1
    found = trials(tmp_path)
    assert [trial.state is TrialState.FAIL for trial in found] == [
        trial.params["data.noise"] == "-x" for trial in found
    ]
    failed = [trial for trial in found if trial.state is TrialState.FAIL]
    assert 0 < len(failed) < 5
    assert failed[0].user_attrs["reason"] == "data.noise='-x' is of type str, expected float"
    # One run stands for all trials of the same options.
    assert len([*tmp_path.rglob("last.ckpt")]) == 1


def test_processes_share_a_study(tmp_path):
    command = [sys.executable, "-m", "da", *SEARCH, NOISE, *options(n_trials=6, startup_epochs=9)]
    command.append("hydra.sweeper.storage=sqlite:///search.db")
    processes = [subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE) for _ in range(2)]
    tables = [process.communicate()[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    storage = f"sqlite:///{tmp_path / 'search.db'}"
    (name,) = optuna.get_all_study_names(storage)
    found = optuna.load_study(study_name=name, storage=storage).get_trials()
    assert all(trial.state is TrialState.COMPLETE for trial in found)
    assert len({trial.params["data.noise"] for trial in found}) == len(found)
    assert len(found) in (6, 7)  # each may begin the last one when it sees that it is missing
    assert sum(table.count("  done  ") for table in tables) == len(found)
    assert len({trial.user_attrs["process"] for trial in found}) == 2


def test_a_trial_whose_process_was_killed_is_run_again(search, tmp_path):
    assert search(NOISE, n_trials=2)[0] == 0
    storage = open_storage(str(tmp_path / "runs" / "search.journal"))
    (name,) = optuna.get_all_study_names(storage)
    left = optuna.load_study(study_name=name, storage=storage).ask()
    left.suggest_float("data.noise", 0.0, 1.0)
    ended = subprocess.Popen(["true"])
    ended.wait()
    left.set_user_attr("process", f"{trials(tmp_path)[0].user_attrs['process'].split()[0]} {ended.pid}")
    assert search(NOISE, n_trials=3)[0] == 0
    found = trials(tmp_path)
    assert [trial.state.name for trial in found] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert found[3].params == found[2].params


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("selection_metric=oracle", NOISE), "reads the target labels that the search is to do without"),
        (("selection_metric=infomax,snd", NOISE), "a search maximises one validator"),
        ((), "hydra/sweeper=optuna has nothing to search"),
        (("data.noise=tag(log,interval(0.0,1.0))",), "data.noise=tag(log,interval(0.0,1.0)): "),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(words, message, search, tmp_path):
    status, _, err = search(*words)
    assert status == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert not [*tmp_path.rglob("results.json")]


def test_a_study_is_named_by_what_is_not_searched(search):
    assert "study toy-source_only-" in search(NOISE, n_trials=1)[1]
    assert "study toy-" in (said := search("method=mmd,coral", n_trials=1)[1])
    assert "study toy-source_only" not in said


def test_a_study_of_other_options_is_refused(search):
    assert search(NOISE, n_trials=1, study="mine")[0] == 0
    status, _, err = search(NOISE, "data.rotation=10", n_trials=1, study="mine")
    assert status == 1
    assert "the study mine in runs/search.journal is of other options (data.rotation=10)" in err
