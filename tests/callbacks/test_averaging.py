"""The average is that of the weights after each batch; it is what is validated, saved and tested."""

import json

import numpy as np
import pytest
import torch
from conftest import TOY, config, power_cut, same_tests
from omegaconf import OmegaConf
from processes import run_on
from torch.testing import assert_close

from da.callbacks.averaging import Ema, Swa
from da.callbacks.selection import Scores
from da.models.state import load_checkpoint
from da.run import run
from da.settings import config_hash
from da.sklearn import AdaptationClassifier
from da.use import open_run

NORM = "net.bottleneck={_target_: da.models.network.Bottleneck, _partial_: true, dropout: 0.2}"
SHORT = (*TOY, NORM, "trainer.limit_train_batches=6", "trainer.max_epochs=2")
EMA, SWA = ("averaging=ema", "averaging.decay=0.7"), ("averaging=swa", "averaging.start=0.4")


def train(folder, *overrides):
    results = run(config(*SHORT, *overrides, run_dir=folder))
    return results, load_checkpoint(folder / "checkpoints/last.ckpt")


def net_of(checkpoint):
    return {k.removeprefix("net."): v for k, v in checkpoint["state_dict"].items() if k.startswith("net.")}


def weights(method):
    return {key: value.clone() for key, value in method.net.state_dict().items()}


@pytest.fixture
def seen(monkeypatch):
    """Network as it is after each batch of training, and at each validation."""
    after, validated = [], []
    spies = {
        "on_train_batch_end": lambda self, trainer, method, *_: after.append(weights(method)),
        "on_validation_epoch_start": lambda self, trainer, method: validated.append(weights(method)),
    }
    for name, spy in spies.items():
        monkeypatch.setattr(Scores, name, spy, raising=False)
    return after, validated


def naive_ema(start, after, key, warmup):
    average = start[key].double()
    for t, state in enumerate(after):
        decay = min(0.7, (1 + t) / (warmup + t))
        average = decay * average + (1 - decay) * state[key].double()
    return average


@pytest.mark.parametrize("warmup", [1, 10])
def test_ema_is_the_recursion_over_the_weights_after_each_batch(tmp_path, seen, warmup):
    starts = []
    ema = (*EMA, f"averaging.warmup={warmup}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ema, "on_train_start", lambda self, trainer, method: starts.append(weights(method)))
        _, last = train(tmp_path, *ema)
    for key, value in net_of(last).items():
        if value.is_floating_point():
            assert_close(value.double(), naive_ema(starts[0], seen[0], key, warmup), atol=1e-6, rtol=1e-5)
        else:
            assert value == seen[0][-1][key] == 12


@pytest.mark.parametrize(("start", "batches"), [(0.4, 7), (0.0, 12)])
def test_swa_is_the_mean_of_the_weights_after_each_batch_from_the_start_on(tmp_path, seen, start, batches):
    _, last = train(tmp_path, "averaging=swa", f"averaging.start={start}")
    after, validated = seen
    late = [state for t, state in enumerate(after) if t / 11 >= start]
    assert len(late) == batches
    for key, value in net_of(last).items():
        if value.is_floating_point():
            assert_close(value, torch.stack([state[key] for state in late]).mean(dim=0), atol=1e-6, rtol=1e-5)
            early = torch.stack([state[key] for state in late[: batches - 6]]).mean(dim=0)
            assert_close(validated[0][key], early, atol=1e-6, rtol=1e-5)  # after six batches


def test_before_its_start_swa_shows_the_network_as_it_is(tmp_path, seen):
    train(tmp_path, "averaging=swa", "averaging.start=1.0")
    after, validated = seen
    assert all(torch.equal(validated[0][key], after[5][key]) for key in after[5])


@pytest.mark.parametrize("averaging", [EMA, SWA])
@pytest.mark.parametrize("method", ["dann", "mcd", "shot"])
def test_training_goes_on_as_without_and_the_average_is_what_is_used(tmp_path, seen, method, averaging):
    overrides = (f"method={method}", "selection_metric=infomax")
    if method == "shot":
        train(tmp_path / "source", "method=source_only")
        overrides += (f"init_from={tmp_path / 'source/checkpoints/last.ckpt'}",)
    _, plain = train(tmp_path / "plain", *overrides)
    seen[1].clear()
    results, last = train(tmp_path / "run", *overrides, *averaging)
    (state,) = (value for key, value in last["callbacks"].items() if key.startswith("averaging."))
    for key, value in net_of(plain).items():
        assert torch.equal(state["trained"][key], value), key
    assert any(not torch.equal(value, net_of(last)[key]) for key, value in net_of(plain).items())
    selected = net_of(load_checkpoint(tmp_path / "run/checkpoints/selected.ckpt"))
    chosen, end = (seen[1][results["selected"]["epoch"]], seen[1][-1])
    assert all(torch.equal(selected[key], chosen[key]) for key in selected)
    assert all(torch.equal(value, end[key]) for key, value in net_of(last).items())


def test_the_last_weights_that_are_tested_are_those_of_last_ckpt(tmp_path):
    results, _ = train(tmp_path, "method=dann", *EMA, "trainer.limit_test_batches=1.0")
    opened = open_run(tmp_path, "last")
    batches = list(opened.data.eval_loader(opened.data.eval_set("target", "test")))
    right = sum(int((opened.net(batch.x)[1].argmax(dim=1) == batch.y).sum()) for batch in batches)
    assert right / 1000 == results["test"]["target_acc"]["last"]


@pytest.mark.parametrize(("method", "averaging"), [("dann", EMA), ("mcd", SWA), ("mcd", EMA)])
def test_a_run_resumed_after_an_epoch_equals_one_never_stopped(tmp_path, method, averaging):
    overrides = (f"method={method}", *averaging)
    unbroken, whole = train(tmp_path / "whole", *overrides)
    with power_cut(epoch=1, batch=2):
        train(tmp_path / "cut", *overrides)
    results, resumed = train(tmp_path / "cut", *overrides, f"ckpt_path={tmp_path / 'cut/checkpoints/last.ckpt'}")
    assert_close(resumed["state_dict"], whole["state_dict"], atol=0, rtol=0)
    (key,) = (key for key in whole["callbacks"] if key.startswith("averaging."))
    assert resumed["callbacks"][key]["count"] == whole["callbacks"][key]["count"]
    assert_close(resumed["callbacks"][key]["trained"], whole["callbacks"][key]["trained"], atol=0, rtol=0)
    for part in ("test", "selected", "oracle", "validators", "steps"):
        assert results[part] == unbroken[part]


def test_a_finished_run_that_is_resumed_is_tested_with_the_average(tmp_path):
    once, _ = train(tmp_path, "method=dann", *EMA)
    again, _ = train(tmp_path, "method=dann", *EMA, f"ckpt_path={tmp_path / 'checkpoints/last.ckpt'}")
    assert again["test"] == once["test"]


def test_training_goes_on_after_a_validation_within_an_epoch(tmp_path):
    often = "+trainer.val_check_interval=0.5"
    _, plain = train(tmp_path / "plain", often)
    _, last = train(tmp_path / "run", *EMA, often)
    trained = last["callbacks"]["averaging.ema"]["trained"]
    assert all(torch.equal(trained[key], value) for key, value in net_of(plain).items())


def test_an_epoch_without_validation_ends_in_a_checkpoint_of_the_average(tmp_path, monkeypatch, seen):
    saved = []
    keep = Ema.state_dict
    monkeypatch.setattr(Ema, "state_dict", lambda self: saved.append(keep(self)) or keep(self))
    train(tmp_path, *EMA, "+trainer.check_val_every_n_epoch=2")
    assert [state["count"] for state in saved] == [6, 12]
    assert all(torch.equal(value, seen[0][5][key]) for key, value in saved[0]["trained"].items())


def test_a_run_is_resumed_with_the_averaging_that_it_had(tmp_path):
    train(tmp_path / "ema", *EMA)
    train(tmp_path / "none")
    for run_, averaging, message in (
        ("ema", (), "averaging=ema, but here averaging=none: set them equal"),
        ("none", EMA, "averaging=none, but here averaging=ema"),
        ("ema", SWA, "averaging=ema, but here averaging=swa"),
    ):
        with pytest.raises(ValueError, match=message):
            train(tmp_path / "again", *averaging, f"ckpt_path={tmp_path / run_ / 'checkpoints/last.ckpt'}")


def test_the_source_stage_is_averaged_too_and_hands_its_average_over(tmp_path):
    train(tmp_path, "method=shot", *EMA)
    stage = load_checkpoint(tmp_path / "pretrain/checkpoints/last.ckpt")
    assert any(key == "averaging.ema" for key in stage["callbacks"])


@pytest.mark.ddp
def test_two_processes_average_as_one(tmp_path):
    short = ("data=toy", "net=mlp", "figures=none", NORM.replace("0.2", "0.0"), "data.steps_per_epoch=6")
    found = []
    for world, trainer in ((1, "cpu"), (2, "ddp_cpu")):
        folder = tmp_path / trainer
        options = ("method=mcd", *short, *EMA, "trainer.max_epochs=2", f"trainer={trainer}")
        run_on(world, config(*options, run_dir=folder))
        checkpoint = load_checkpoint(folder / "checkpoints/last.ckpt")
        found.append((net_of(checkpoint), json.loads((folder / "results.json").read_text())))
    (one, alone), (two, both) = found
    assert (alone["world_size"], both["world_size"]) == (1, 2)
    assert_close(two, one, atol=1e-5, rtol=1e-4)
    assert same_tests(alone["test"], both["test"])


def test_without_averaging_the_hash_is_what_it_was_and_with_it_another():
    plain = config(*TOY)
    before = OmegaConf.create({key: node for key, node in plain.items() if key != "averaging"})
    null = OmegaConf.merge(before, {"averaging": None})
    assert config_hash(before) == config_hash(null) == config_hash(plain)
    others = [config_hash(config(*TOY, *options)) for options in (EMA, SWA, ("averaging=ema",))]
    assert len({config_hash(plain), *others}) == 4


def test_the_scikit_learn_estimator_averages_too():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 3)).astype(np.float32), np.arange(40) % 2
    nets = [
        AdaptationClassifier("source_only", epochs=2, batch_size=8, overrides=overrides).fit(x, y).network_
        for overrides in ((), ("averaging=ema", "averaging.decay=0"), EMA)
    ]
    plain, zero, ema = (net.state_dict() for net in nets)
    assert_close(zero, plain, atol=0, rtol=0)  # a decay of 0 is no average
    assert not torch.equal(ema["head.weight"], plain["head.weight"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Ema(decay=1.0), r"averaging.decay=1.0 must lie in \[0, 1\)"),
        (lambda: Ema(decay=-0.1), "averaging.decay=-0.1"),
        (lambda: Ema(warmup=0.5), "averaging.warmup=0.5 be at least 1"),
        (lambda: Swa(start=1.5), "averaging.start=1.5 must lie in"),
    ],
)
def test_what_is_no_average_is_said_to_be_none(build, message):
    with pytest.raises(ValueError, match=message):
        build()
