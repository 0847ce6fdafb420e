"""Every yaml composes and builds; names, facts and files agree."""

from pathlib import Path

import pytest
import torch
from conftest import CONF, TOY, config, options
from nets import example, net_config
from omegaconf import OmegaConf

from da.build import build
from da.data.rows import Draw

NETS = options("net")


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_first_line_says_what_it_is(path):
    lines = path.read_text().splitlines()
    described = lines[1] if lines[0] == "# @package _global_" else lines[0]
    assert described.startswith("# ")


@pytest.mark.parametrize(("number", "name"), list(enumerate(options("experiment"))))
def test_every_experiment_composes_with_methods_and_every_method_with_experiments(number, name):
    """Each with a third of the others, which differs from one experiment to the next."""
    for method in options("method")[number % 3 :: 3]:
        cfg = config(f"experiment={name}", f"method={method}")
        assert OmegaConf.to_container(cfg.method, resolve=True)["_target_"].startswith("da.methods")


@pytest.mark.parametrize("name", NETS)
def test_feature_dim_and_num_classes_are_what_the_network_gives(name):
    cfg = net_config(name)
    z, logits = build(cfg.net, "net").eval()(example(cfg))
    assert z.shape == (2, cfg.net.feature_dim)
    assert logits.shape == (2, cfg.data.num_classes)


@pytest.mark.parametrize("group", ["discrepancy", "validator"])
def test_a_config_is_named_as_the_class_or_the_module_that_it_builds(group):
    """One name is the beginning of the other: mmd_unbiased builds Mmd, moment builds MomentDistance."""
    for name in options(group):
        path = config(f"+{group}@built={name}").built._target_
        *_, module, class_ = (part.lower().replace("_", "") for part in path.split("."))
        compact = name.replace("_", "")
        assert any(compact.startswith(own) or own.startswith(compact) for own in (module, class_)), (name, path)


def test_every_validator_is_among_all_but_those_that_ask_for_labels_or_mixed_rows():
    nodes = {name: config(f"+validator@built={name}").built for name in options("validator")}
    built = {name: build(node, name) for name, node in nodes.items()}
    asking = {name for name, validator in built.items() if validator.labels_per_class or validator.mixes}
    assert asking == {"few_shot_acc", "mixval"}
    assert set(config(*TOY, "validators=all").validators) == set(options("validator")) - asking


def test_the_demo_data_give_what_the_network_takes():
    cfg = config("data=digits_demo", "net=dtn")
    data = build(cfg.data, "data")
    assert data.eval_set("target", "test")[Draw(torch.arange(3), 0)].x.shape == (3, 3, 32, 32)


def test_the_wheel_carries_the_configs():
    import tomllib

    project = tomllib.loads((Path(CONF).parent / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {"conf": "da/conf"}
