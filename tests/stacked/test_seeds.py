"""Runs of several seeds in one stack: each begins, is fed and drops out as its seed says."""

from types import SimpleNamespace

import pytest
from conftest import TOY, config
from saved_runs import WIDE
from stacked.test_every_method import assert_same_run, configs
from stacked.test_launcher import results, sweep

from da.assemble import assemble
from da.run import run
from da.stacked import reasons
from da.stacked.jobs import _divided
from da.stacked.reasons import SeedsDifferError
from da.stacked.run import run_stack
from da.stacked.seeds import DataOfSeeds


def both_ways(tmp_path, cfgs):
    """Train these configs in a stack, the first and the last also by themselves; yield the folders of each way."""
    outcomes = run_stack(cfgs(tmp_path / "stacked"))
    assert [outcome["stacked"] for outcome in outcomes] == [len(outcomes)] * len(outcomes)
    alone = cfgs(tmp_path / "alone")
    for cfg in (alone[0], alone[-1]):
        run(cfg)
        folder = tmp_path / cfg.run_dir
        yield tmp_path / "stacked" / folder.relative_to(tmp_path / "alone"), folder


@pytest.mark.parametrize("method", ["source_only", "labeled_only"])
def test_methods_without_a_weight_are_stacked_over_their_seeds(method, tmp_path):
    def cfgs(folder):
        words = (*TOY, *WIDE, f"method={method}", "monitor=none")
        return [config(*words, f"seed={seed}", run_dir=folder / str(seed)) for seed in range(3)]

    for stacked, alone in both_ways(tmp_path, cfgs):
        assert_same_run(stacked, alone, 1e-6)


def test_validators_read_the_rows_of_the_run_s_own_seed(tmp_path):
    words = ("data.val_rows=200", "trainer.precision=64-true", "monitor=none")
    words += (
        "validators=all",
        "+validator@validators.mixval=mixval",
        "+validator@validators.few_shot_acc=few_shot_acc",
    )
    for stacked, alone in both_ways(tmp_path, lambda folder: configs(folder, "mmd", *words, last_seed=4)):
        assert_same_run(stacked, alone, 1e-9)


def test_seeds_that_cannot_be_one_stack_are_one_each(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(reasons, "LARGEST_OF_SEEDS", 1000)
    assert sweep(tmp_path, "method.weights.align.high=0.1,2", "seed=0,1") == 0
    said = capfd.readouterr()
    assert "mmd seeds 0, 1: 2 stacks: 4 runs of several seeds have 1,864 trained parameters, of 1,000" in said.err
    assert "mmd seed 1, 2 runs at once" in said.out
    assert [result["stacked"] for result in results(tmp_path).values()] == [2] * 4


def test_a_reason_that_holds_for_every_seed_is_given_once(tmp_path, capfd):
    assert sweep(tmp_path, "method.weights.align.high=0.1,2", "seed=0,1", "averaging=ema") == 0
    said = capfd.readouterr().err
    assert said.count("the network is averaged") == 1
    assert "mmd seeds 0, 1: 4 runs are trained one after the other: the network is averaged" in said


def test_seeds_whose_frozen_backbones_differ_are_no_stack(tmp_path):
    with pytest.raises(SeedsDifferError, match=r"its seeds differ in net\.backbone\."):
        run_stack(configs(tmp_path, "mmd", "+net.freeze_backbone=true", last_seed=4))
    assert not list(tmp_path.iterdir())


def test_nor_are_seeds_with_other_numbers_of_steps():
    parts = []
    for rows in (8, 16):
        data, _ = assemble(config(*TOY, f"data.batch_size.source={rows}", "data.steps_per_epoch=null"))
        data.load(frozenset({"source"}))
        parts.append(data)
    with pytest.raises(SeedsDifferError, match="its seeds have other numbers of steps"):
        DataOfSeeds(parts).train_dataloader()


@pytest.mark.parametrize(
    ("seeds", "most", "parts"),
    [
        ((0, 0, 1, 1, 2, 2), 4, [[0, 0, 1, 1], [2, 2]]),
        ((0, 0, 1, 1, 2), 1, [[0, 0], [1, 1], [2]]),
        ((0, 0, 1, 2), 3, [[0, 0, 1], [2]]),
        ((0, 1, 2), 1, []),
    ],
)
def test_runs_are_divided_between_seeds(seeds, most, parts):
    cfgs = [SimpleNamespace(seed=seed) for seed in seeds]
    assert [[cfg.seed for cfg in part] for part in _divided(cfgs, most)] == parts
