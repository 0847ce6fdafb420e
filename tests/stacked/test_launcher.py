"""hydra/launcher=stacked: what a user sees of runs that are trained at once."""

import csv
import json

import pytest
import torch
from conftest import TOY, call, config, power_cut
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import OmegaConf
from saved_runs import WIDE
from torch.func import vmap
from torch.nn import functional as F
from torch.testing import assert_close

from da.compose import config_dir
from da.run import run as train
from da.settings import register_resolvers, run_name
from da.stacked import jobs
from da.stacked.jobs import key_of
from da.stacked.layers import LayersOfEach
from hydra_plugins.lambda_da.composition import Compositions

SWEEP = ("method.weights.align.high=0.1,0.5,2", "seed=0,1")


def sweep(runs, *words, launcher="stacked"):
    """Train a sweep on toy data with batch norm and dropout; return the exit status."""
    return call("train", "-m", *TOY, *WIDE, "method=mmd", f"runs={runs}", f"hydra/launcher={launcher}", *words)


def results(runs):
    """results.json of every run, by its folder's path below `runs`."""
    found = {path.parent.relative_to(runs): json.loads(path.read_text()) for path in runs.rglob("results.json")}
    return dict(sorted(found.items()))


def curves(folder):
    """The numbers of metrics.csv by step and name, but those of the alignment monitor and the costs."""
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    skipped = ("alignment/", "cost/", "step")
    return {
        (row["step"], key): float(value)
        for row in rows
        for key, value in row.items()
        if value and not key.startswith(skipped)
    }


def weights_of(folder, name):
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


def test_three_weights_of_two_seeds_leave_the_folders_of_runs_by_themselves(tmp_path, capfd):
    one, other = tmp_path / "stacked", tmp_path / "alone"
    assert sweep(one, *SWEEP) == sweep(other, *SWEEP, launcher="basic") == 0
    assert "mmd seeds 0, 1, 6 runs at once" in capfd.readouterr().out
    stacked, alone = results(one), results(other)
    assert len(stacked) == 6
    assert stacked.keys() == alone.keys()
    for run in stacked:
        assert stacked[run]["stacked"] == 6
        assert {p.name for p in (one / run).iterdir()} == {p.name for p in (other / run).iterdir()}
        here, there = curves(one / run), curves(other / run)
        assert here.keys() == there.keys()
        assert here == pytest.approx(there, abs=1e-4)
        for name in ("selected", "last"):
            assert_close(weights_of(one / run, name), weights_of(other / run, name), atol=1e-4, rtol=0)
        configs = [(where / run / "config.yaml").read_text().replace(str(where), "") for where in (one, other)]
        assert configs[0] == configs[1]


def test_what_they_leave_can_be_reported_and_selected(tmp_path, capfd):
    assert sweep(tmp_path, "method.weights.align.high=0.1,2") == 0
    assert call("report", tmp_path) == 0
    assert call("select", tmp_path, "--by", "infomax") == 0
    assert "mmd" in capfd.readouterr().out


def test_a_run_that_is_complete_is_not_trained_again(tmp_path, capfd):
    assert sweep(tmp_path, "method.weights.align.high=0.1,0.5") == 0
    before = results(tmp_path)
    capfd.readouterr()
    assert sweep(tmp_path, "method.weights.align.high=0.1,0.5,1,2") == 0
    said = capfd.readouterr().out
    assert "2 done, 2 skipped, 0 failed" in said
    assert "mmd seed 0, 2 runs at once" in said
    after = results(tmp_path)
    assert len(after) == 4
    assert {run: after[run] for run in before} == before


def test_a_run_that_was_interrupted_goes_on_by_itself(tmp_path, capfd):
    cfg = config(*TOY, *WIDE, "method=mmd", "method.weights.align.high=0.1")
    cfg.run_dir = str(tmp_path / run_name("toy", "mmd", cfg))
    with power_cut(epoch=1, batch=1):
        train(cfg)
    assert sweep(tmp_path, "method.weights.align.high=0.1,0.5,2") == 0
    said = capfd.readouterr().out
    assert "mmd seed 0: goes on after batch" in said
    assert "mmd seed 0, 2 runs at once" in said
    assert sorted(result["stacked"] for result in results(tmp_path).values()) == [1, 2, 2]


def test_a_run_that_is_not_finite_fails_alone(tmp_path, capfd):
    one, other = tmp_path / "stacked", tmp_path / "alone"
    values = "method.weights.align.high=0.1,1e30,2"
    words = ("trainer.log_every_n_steps=1", "monitor=none")
    assert sweep(one, values, *words) == sweep(other, values, *words, launcher="basic") == 1
    stacked, alone = results(one), results(other)
    assert [r["status"] for r in stacked.values()] == [r["status"] for r in alone.values()]
    failed = [run for run, result in alone.items() if result["status"] == "failed"]
    assert len(failed) == 1
    assert stacked[failed[0]]["error"].partition(";")[0] == alone[failed[0]]["error"].partition(";")[0]
    for run in alone.keys() - set(failed):
        assert curves(one / run) == pytest.approx(curves(other / run), abs=1e-4)
    assert capfd.readouterr().err.count("error: mmd seed 0: the loss is not finite") == 2


def test_what_cannot_be_stacked_is_trained_one_after_the_other_and_says_why(tmp_path, capfd):
    assert sweep(tmp_path, "method.weights.align.high=0.1,2", "averaging=ema") == 0
    assert "mmd seed 0: 2 runs are trained one after the other: the network is averaged" in capfd.readouterr().err
    found = results(tmp_path).values()
    assert [result["status"] for result in found] == ["complete"] * 2
    assert [result["stacked"] for result in found] == [1, 1]


def test_a_stack_that_breaks_is_trained_one_after_the_other(tmp_path, capfd, monkeypatch):
    def break_(_cfgs):
        raise RuntimeError("the stack is broken")

    monkeypatch.setattr("da.stacked.run.run_stack", break_)
    assert sweep(tmp_path, "method.weights.align.high=0.1,2") == 0
    assert "one after the other: the stack failed: RuntimeError: the stack is broken" in capfd.readouterr().err
    assert [result["status"] for result in results(tmp_path).values()] == ["complete"] * 2
    assert not jobs.outcomes


def test_a_setting_that_is_wrong_is_said_once_a_job(tmp_path, capfd):
    assert sweep(tmp_path, "method.weights.align.high=0.1,2", "figures=xyz") == 1
    assert capfd.readouterr().out.count("figures=xyz: expected one of") == 2
    assert not results(tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (("method.weights.align.high=1", "seed=0"), ("method.weights.align.high=3e-2", "seed=0"), True),
        (("method.weights.align.high=1", "seed=0"), ("method.weights.align.high=1", "seed=1"), True),
        (("method.weights.align.high=1", "seed=0"), ("method.weights.align.high=1", "data.seed=1"), False),
        (("method.weights.align.high=1", "seed=0"), ("method.weights.align._target_=x", "seed=0"), False),
        (("method.weights.align.high=1", "method=mmd"), ("method.weights.align.high=1", "method=coral"), False),
    ],
)
def test_jobs_belong_together_that_differ_in_seeds_and_numbers_of_the_weights_only(one, other, together):
    assert (key_of(one) == key_of(other)) is together


def test_a_config_that_is_copied_is_the_one_that_hydra_composes():
    register_resolvers()
    setup_globals()
    words = ["data=toy", "net=mlp", "method=mmd"]
    with initialize_config_dir(config_dir(), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert loader is not None
        master = loader.load_configuration("train", words, run_mode=RunMode.MULTIRUN)
        copying = Compositions(loader)
        for number, seed in (("1", 0), ("3e-2", 4), ("0.5", 0)):
            job = [*words, f"method.weights.align.high={number}", f"seed={seed}"]
            copied, composed = copying.load_sweep_config(master, job), loader.load_sweep_config(master, job)
            assert OmegaConf.to_container(copied, resolve=False) == OmegaConf.to_container(composed, resolve=False)


def test_tables_of_ones_own_say_how_wide_the_network_is(tmp_path):
    for name, moved in (("a", 0.0), ("b", 0.5)):
        lines = [f"{i % 7 + moved},{i / 80},{'yes' if i % 7 > 3 else 'no'}" for i in range(80)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["height,width,label", *lines]))
    data = ("data=csv", "net=tabular", *(f"data.{d}={tmp_path / n}.csv" for d, n in (("source", "a"), ("target", "b"))))
    short = ("method=mmd", "trainer.max_epochs=1", "figures=none", f"runs={tmp_path / 'runs'}")
    weights = "method.weights.align.high=0.1,1"
    assert call("train", "-m", *data, *short, weights, "hydra/launcher=stacked") == 0
    found = results(tmp_path / "runs")
    assert [(one["status"], one["stacked"]) for one in found.values()] == [("complete", 2)] * 2
    assert all("${" not in (tmp_path / "runs" / folder / "config.yaml").read_text() for folder in found)


@pytest.mark.parametrize("dims", [(0, 0, 0), (None, 0, 0), (0, 0, None), (0, None, None), (0, None, 0)])
def test_linear_layers_of_each_run_are_those_of_one(dims):
    generator = torch.Generator().manual_seed(0)
    shapes = ((5, 4), (3, 4), (3,))
    tensors = [
        torch.randn(*([2] * (d is not None)), *shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for d, shape in zip(dims, shapes, strict=True)
    ]
    with LayersOfEach():
        many = vmap(F.linear, in_dims=dims)(*tensors)
    each = torch.stack(
        [F.linear(*(x if d is None else x[k] for x, d in zip(tensors, dims, strict=True))) for k in range(2)]
    )
    assert_close(many, each)
    grads = [torch.autograd.grad(y.square().sum(), tensors) for y in (many, each)]
    assert_close(grads[0], grads[1])


@pytest.mark.parametrize("training", [True, False])
def test_batch_norms_of_each_run_are_those_of_one(training):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.rand(2, *shape, generator=generator, requires_grad=True) for shape in ((5, 3), (3,)))
    mean, var = (torch.rand(2, 3, generator=generator) for _ in range(2))
    own = mean.clone(), var.clone()

    def norm(x, mean, var, weight):
        return F.batch_norm(x, mean, var, weight, training=training)

    with LayersOfEach():
        many = vmap(norm)(x, mean, var, weight)
    each = torch.stack([norm(*(v[k] for v in (x, *own, weight))) for k in range(2)])
    grads = [torch.autograd.grad(y.square().sum(), (x, weight)) for y in (many, each)]
    for one, other in ((many, each), (mean, own[0]), (var, own[1]), *zip(*grads, strict=True)):
        assert torch.equal(one, other)


def test_layers_in_which_no_run_differs_are_called_once():
    x, w, statistics = torch.rand(5, 4), torch.rand(3, 4), torch.rand(3)
    with LayersOfEach():
        many = vmap(lambda k: k * F.batch_norm(F.linear(x, w), statistics, statistics + 1))(torch.tensor([1.0, 2.0]))
    one = F.batch_norm(F.linear(x, w), statistics, statistics + 1)
    assert_close(many, torch.stack([one, 2 * one]))
