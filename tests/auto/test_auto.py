"""`method=auto`: the halving by hand, the budget, what fails, and a search to its end."""

import json

import pytest
import torch
from conftest import CONF, TOY, call, config, options

from da.auto.plan import Candidate, Settings, balance_of, candidates, read_settings, shortened, suited
from da.auto.search import Trial, halve
from da.select.guard import PANELS
from da.settings import config_hash
from da.use import open_run

MOONS = (*TOY, "trainer.max_epochs=4", "trainer.limit_train_batches=4", "validators=standard")


def settings(**changed):
    known, _ = read_settings([f"{key}={value}" for key, value in changed.items()])
    return known


class Bench:
    """Trains nothing: scores and seconds of a whole length by name, and a clock."""

    def __init__(self, scores, seconds=10.0, broken=()):
        self.scores, self.seconds, self.broken = scores, seconds, broken
        self.now, self.trained = 0.0, []

    def train(self, candidate, part):
        if candidate.name in self.broken:
            raise FloatingPointError("the loss is nan")
        self.trained.append((candidate.name, part))
        self.now += part * self.seconds
        return Trial(self.scores[candidate.name], part * self.seconds)

    def halve(self, **changed):
        some = [Candidate(name, (f"method={name}",)) for name in self.scores]
        return halve(some, settings(**changed), self.train, lambda: self.now)


def test_the_better_half_goes_on_and_the_baseline_always():
    bench = Bench({"source_only": 0, "a": 1, "b": 4, "c": 3, "d": 2})
    bench.halve(rungs="[0.25,0.5,1.0]", keep=0.5)
    of = {part: [name for name, p in bench.trained if p == part] for part in (0.25, 0.5, 1.0)}
    assert of[0.25] == ["source_only", "a", "b", "c", "d"]
    assert of[0.5] == ["source_only", "b", "c"]
    assert of[1.0] == ["source_only", "b"]


def test_what_has_no_time_is_not_begun_and_the_end_is_reserved():
    """A length takes 10 s, the deadline is at 36: after four quarters (10 s) a fifth would end at 12.5 + 20 = 32.5."""
    bench = Bench({"source_only": 0, "a": 1, "b": 4, "c": 3, "d": 2, "e": 9})
    entries = bench.halve(rungs="[0.25,1.0]", keep=0.4, minutes=0.6)
    assert bench.now <= 36
    assert [name for name, part in bench.trained if part == 1.0] == ["source_only", "e", "b"][: len(bench.trained) - 6]
    tight = Bench({"source_only": 0, "a": 1, "b": 4, "c": 3})
    entries = tight.halve(rungs="[0.25,1.0]", minutes=0.45)  # 27 s: three quarters, then two lengths end at 27.5
    late = [(entry.candidate.name, entry.reason) for entry in entries if entry.reason]
    assert late[0] == ("b", "no time left")
    assert ("source_only", 1.0) in tight.trained
    assert ("a", 1.0) in tight.trained  # the only one that was seen ranks first


def test_the_baseline_is_trained_to_the_end_whatever_it_takes():
    bench = Bench({"source_only": 0, "a": 1}, seconds=1000.0)
    bench.halve(minutes=0.1)
    assert ("source_only", 1.0) in bench.trained
    assert all(name == "source_only" for name, _ in bench.trained)


def test_a_candidate_that_fails_is_out_and_named_and_a_failing_baseline_is_an_error():
    bench = Bench({"source_only": 0, "a": 9, "b": 1}, broken=("a",))
    entries = bench.halve()
    assert [entry.reason for entry in entries if entry.candidate.name == "a"] == ["the loss is nan"]
    assert ("b", 1.0) in bench.trained
    with pytest.raises(FloatingPointError):
        Bench({"source_only": 0, "a": 1}, broken=("source_only",)).halve()


def test_the_candidates_are_methods_of_conf_and_their_lambdas():
    known, rest = read_settings(["lambdas=1,0.3", "data=toy", "net=mlp"])
    found = {one.name: one.words for one in candidates(known, rest)}
    assert next(iter(found)) == "source_only"
    assert set(known.methods) <= set(options("method"))
    assert found["mmd x0.3"] == ("method=mmd", "method.weights.align.high=0.3")
    assert found["mcc x0.3"] == ("method=mcc", "method.weights.mcc.value=0.3")
    assert "shot" in found
    assert "shot x0.3" not in found  # without a source there is nothing to weigh it against


def test_methods_that_expect_equal_classes_are_left_out_where_the_source_has_others():
    known = settings(methods="mcc,shot,mmd", balance=0.9)
    assert balance_of(torch.arange(12) % 4) == pytest.approx(1)
    assert balance_of(torch.tensor([0, 0, 0, 7])) == pytest.approx(0.811278)  # bits, by hand: .75 log2 4/3 + .25 log2 4
    assert balance_of(torch.zeros(3, dtype=torch.long)) == 1
    assert suited(known, 0.9) == (known, "")
    less, said = suited(known, 0.81)
    assert less.methods == ("mmd",)
    assert said.startswith("left out: mcc, shot expect equally frequent classes, and those of the source have 0.81 of")
    with pytest.raises(ValueError, match=r"no method is left: mcc, shot expect.*less than balance=0\.9"):
        suited(settings(methods="mcc,shot"), 0.5)
    assert {*known.expect_balance} <= set(options("method"))


def test_a_whole_length_is_the_run_that_da_train_would_make_and_a_part_is_shorter(tmp_path):
    words = ["data=toy", "net=mlp", "method=mmd", "trainer.max_epochs=8"]
    assert config_hash(shortened(words, 1.0, tmp_path)) == config_hash(config(*words))
    assert shortened(words, 0.25, tmp_path).trainer.max_epochs == 2
    less = shortened([*words[:3], "trainer.max_epochs=2"], 0.25, tmp_path).trainer
    assert (less.max_epochs, less.limit_train_batches) == (1, 0.5)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auto")
    words = [*MOONS, "methods=mmd,mcc", "lambdas=1", f"run_dir={folder}"]
    assert call("train", "method=auto", *words) == 0
    return folder, words


def test_a_search_leaves_a_model_that_can_be_used_and_a_report(searched):
    folder, _ = searched
    told = json.loads((folder / "auto.json").read_text())
    assert told["chosen"] in {"source_only", "mmd", "mcc"}
    assert told["left_out"] is None
    model = open_run(folder / "model")
    assert model.results["method"] == told["chosen"]
    assert model.results["target_labels"] == []
    assert {*PANELS[0], settings().by} <= model.results["validators"].keys()  # they decide
    assert "a_distance" not in model.results["validators"]  # a second an epoch, which decides nothing
    assert {(one["candidate"], one["part"]) for one in told["trials"]} >= {("source_only", 0.25), ("source_only", 1.0)}
    best = max(told["options_at_full_length"], key=lambda one: one["score"])
    assert best["method"] == told["chosen"] or told["chosen"] == "source_only"


def test_started_again_it_trains_nothing(searched, monkeypatch):
    folder, words = searched
    before = (folder / "auto.json").read_text()
    monkeypatch.setattr("da.run.run", None)
    assert call("auto", *words) == 0
    assert (folder / "auto.json").read_text() == before


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("method=mmd",), 2, "auto chooses the method"),
        (("by=nothing",), 1, "by=nothing is no validator"),
        (("minutes=0",), 1, "minutes=0 must be positive"),
        (("balance=2",), 1, "balance=2 must lie between 0 and 1"),
        (("rungs=[0.5]",), 1, "must rise to 1"),
        (("methods=[source_only]",), 1, "name some, and not source_only"),
        (("methods=[nothing]",), 1, "nothing"),
        (("optimiser=adam",), 1, "optimiser"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, status, said, tmp_path, capsys):
    assert call("auto", *MOONS, f"run_dir={tmp_path}", *words) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_settings_are_those_of_the_file():
    assert (CONF / "auto.yaml").is_file()
    assert isinstance(settings(), Settings)
    assert settings(minutes=3).minutes == 3
    assert settings(methods="mmd,dann").methods == ("mmd", "dann")
