"""Every method of conf/ is trained in a stack as it is by itself, or refused with a reason."""

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import TOY, config, options
from omegaconf import OmegaConf
from saved_runs import WIDE

from da.run import run
from da.stacked.reasons import NotStackableError
from da.stacked.run import run_stack
from da.stacked.stack import Stack

REFUSED = {
    "deep_jdot": "torch.vmap can't follow it: vmap: It looks like you're attempting to use a Tensor in some data-dep",
    "mcd": "Mcd is no weighted sum of terms",
    "shot": "Shot is no weighted sum of terms",
    "teachers": "Teachers is no weighted sum of terms",
    "vat": "torch.vmap can't follow it: You are attempting to call Tensor.requires_grad_",
    "wdgrl": "Wdgrl is no weighted sum of terms",
}
"""Methods that are not stacked, and what is said."""
UNWEIGHTED = {"labeled_only", "source_only", "target_only"}
"""Methods without a weight lambda to differ in."""
STACKED = [method for method in options("method") if method not in REFUSED and method not in UNWEIGHTED]
ROUNDED = {"bnm", "can", "cdan", "cdan_e", "cdan_random", "coral", "dann", "dann_e", "domain_confusion", "gvb", "homm"}
ROUNDED |= {"mcc", "mmda"}
"""Of those the ones whose terms round otherwise under `torch.vmap`, which makes one product or sum of many."""


def configs(folder, method, *words, weights=(0.1, 0.5, 2.0), last_seed=0):
    """Configs of runs of one method that differ in its first weight lambda, and in the seed of the last one."""
    made = []
    for number, weight in enumerate(weights):
        seed = last_seed if number == len(weights) - 1 else 0
        cfg = config(*TOY, *WIDE, f"method={method}", f"seed={seed}", *words)
        cfg.run_dir = str(folder / str(weight))
        node = next(iter(cfg.method.weights.values()))
        node["high" if "high" in node else "value"] = weight
        made.append(cfg)
    return made


def numbers(value):
    """All numbers in what json holds, in order."""
    if isinstance(value, dict):
        return [x for key in sorted(value) for x in numbers(value[key])]
    if isinstance(value, list):
        return [x for item in value for x in numbers(item)]
    return [value] if isinstance(value, float) else []


def measured(folder):
    """What results.json has of the training, and the weights of both checkpoints."""
    results = json.loads((folder / "results.json").read_text())
    assert results["status"] == "complete", results["error"]
    kept = {key: results[key] for key in ("test", "validators", "selected", "epochs", "oracle")}
    states = {
        f"{name}/{key}": value
        for name in ("selected", "last")
        for key, value in torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"].items()
    }
    return results, numbers(kept), states


def assert_same_run(stacked, alone, atol):
    (results, values, states), (expected, wanted, weights) = measured(stacked), measured(alone)
    assert results["config_hash"] == expected["config_hash"]
    assert results["selected"]["epoch"] == expected["selected"]["epoch"]
    assert values == pytest.approx(wanted, abs=atol)
    assert states.keys() == weights.keys()
    for key, value in states.items():
        torch.testing.assert_close(value, weights[key], atol=atol, rtol=atol, msg=f"{key} differs")


@pytest.mark.parametrize("last_seed", [0, 4])
@pytest.mark.parametrize("method", STACKED)
def test_a_stacked_run_is_the_run_by_itself(method, last_seed, tmp_path):
    """To the last bit in single precision, or but for rounding in double precision."""
    words = ("monitor=none", f"trainer.precision={'64-true' if method in ROUNDED else '32-true'}")
    stacked, alone = (configs(tmp_path / part, method, *words, last_seed=last_seed) for part in ("stacked", "alone"))
    outcomes = run_stack(stacked)
    assert [outcome["stacked"] for outcome in outcomes] == [3, 3, 3]
    for cfg in (alone[0], alone[-1]):
        run(cfg)
        name = Path(cfg.run_dir).name
        assert_same_run(tmp_path / "stacked" / name, tmp_path / "alone" / name, 1e-9 if method in ROUNDED else 1e-6)
        if method not in ROUNDED:
            states, weights = (measured(tmp_path / part / name)[2] for part in ("stacked", "alone"))
            assert [key for key, value in states.items() if not torch.equal(value, weights[key])] == []


@pytest.mark.parametrize("method", REFUSED)
def test_a_method_that_is_not_stacked_says_why_and_touches_no_folder(method, tmp_path):
    with pytest.raises(NotStackableError, match=re.escape(REFUSED[method])):
        run_stack(configs(tmp_path, method))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("optimizer", ["Adagrad", "Adam", "ASGD"])
def test_so_it_is_with_other_optimizers(optimizer, tmp_path):
    stacked, alone = (configs(tmp_path / part, "mmd", "monitor=none") for part in ("stacked", "alone"))
    for cfg in (*stacked, *alone):
        OmegaConf.set_struct(cfg, False)
        cfg.optimizer = {"_target_": f"torch.optim.{optimizer}", "_partial_": True, "lr": 0.01}
    assert all(isinstance(outcome, dict) for outcome in run_stack(stacked))
    run(alone[-1])
    assert_same_run(tmp_path / "stacked/2.0", tmp_path / "alone/2.0", 1e-6)


def test_nor_is_a_run_whose_optimizer_may_mix_parameters(tmp_path):
    cfgs = configs(tmp_path, "mmd")
    for cfg in cfgs:
        OmegaConf.set_struct(cfg, False)
        cfg.optimizer = {"_target_": "torch.optim.LBFGS", "_partial_": True}
    with pytest.raises(NotStackableError, match="the optimizer LBFGS may mix the parameters of several runs"):
        run_stack(cfgs)


@pytest.mark.parametrize("discrepancy", ["coral", "homm", "mmd_linear", "swd", "energy"])
def test_so_are_other_discrepancies(discrepancy, tmp_path):
    words = ("trainer.precision=64-true", "monitor=none", f"discrepancy={discrepancy}")
    stacked, alone = (configs(tmp_path / part, "align", *words, weights=(0.1, 2.0)) for part in ("stacked", "alone"))
    assert all(isinstance(outcome, dict) for outcome in run_stack(stacked))
    run(alone[-1])
    assert_same_run(tmp_path / "stacked/2.0", tmp_path / "alone/2.0", 1e-9)


def to_leaves(node, seen):
    """Names of the nodes of an autograd graph whose gradients are added to those of parameters."""
    for following, _ in node.next_functions:
        if following is None or following in seen:
            continue
        seen.add(following)
        if following.name() == "torch::autograd::AccumulateGrad":
            yield node.name()
        else:
            yield from to_leaves(following, seen)


def test_gradients_come_to_the_parameters_as_they_are(tmp_path, monkeypatch):
    """A slice of a parameter, even of all of it, has its gradient copied into zeros: a third of a step."""
    names = set()

    def losses(stack, batches, losses=Stack.losses):
        found = losses(stack, batches)
        names.update(to_leaves(found.total.sum().grad_fn, set()))
        return found

    monkeypatch.setattr(Stack, "losses", losses)
    run_stack(configs(tmp_path, "mmd"))
    assert names <= {"PermuteBackward0", "_LinearsBackward", "NativeBatchNormBackward0"}  # views, and who reads
    assert names
