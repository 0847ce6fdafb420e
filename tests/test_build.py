"""Options are checked against the constructors that receive them."""

import pytest
import torch
from conftest import TOY, config
from omegaconf import OmegaConf

from da.build import build, check
from da.settings import check_settings, config_hash


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+data.shapes=moons", r"data.shapes=moons: Toy has no such option; it has .*shape"),
        ("data.noise=loud", r"data.noise='loud' is of type str, expected float"),
        ("data.noise=true", r"data.noise=True is of type bool, expected float"),
        ("data.batch_size.source=many", r"data.batch_size=.* expected collections.abc.Mapping\[str, int\]"),
        ("net.batch_norm=jiont", r"net.batch_norm='jiont' .*joint.*separate"),
        ("trainer.max_epochs=ten", r"trainer.max_epochs='ten' is of type str"),
        ("+optimizer.learning_rate=1", r"optimizer.learning_rate=1: SGD has no such option"),
        (
            "method.weights.adversarial.value=[1]",
            r"method.weights.adversarial.value=\[1\] is of type list, expected float",
        ),
        (
            "method.weights.adversarial._target_=da.schedules.Rump",
            r"_target_=da.schedules.Rump: there is no such class",
        ),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_what_would_do(override, message):
    group = override.lstrip("+").partition(".")[0]
    node = OmegaConf.to_container(config(*TOY, override)[group], resolve=True)
    with pytest.raises((ValueError, TypeError), match=message):
        check(node, group)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+sede=3", "sede=3: there is no such option"),
        ("seed=abc", "seed='abc' is of type str, expected int"),
        ("seed=-1", "seed=-1 must not be negative"),
        ("figures=umap", "figures=umap: expected one of tsne, pca, none"),
        ("figures_every=0", "figures_every=0 needs 1 epoch or more"),
        ("+trainer.max_time=00:00:01:00", "trainer.max_time would end the run as if it were complete: max_minutes"),
        ("ckpt_path=3", "ckpt_path=3 is of type int, expected str or null"),
    ],
)
def test_a_wrong_setting_at_the_root_is_named(override, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check_settings(config(*TOY, override))


def test_an_int_will_do_for_a_float():
    assert build(config(*TOY, "data.noise=1").data, "data").noise == 1


def test_schedules_stay_objects_inside_a_mapping():
    net = build(config(*TOY).net, "net")
    method = build(config(*TOY, "method=dann").method, "method", net=net, optimizer=torch.optim.SGD)
    assert method.objective.weights["adversarial"](0.5) == 1.0


def test_the_hash_sees_what_is_trained_and_not_where():
    base = config_hash(config(*TOY))
    assert config_hash(config(*TOY, run_dir="elsewhere")) == base
    assert config_hash(config(*TOY, "force=true", "figures=pca")) == base
    assert len({base, config_hash(config(*TOY, "seed=1")), config_hash(config(*TOY, "optimizer.lr=0.02"))}) == 3


def test_the_hash_leaves_out_the_place_of_the_data():
    digits = ("data=digits",)
    assert config_hash(config(*digits, "data.root=/a")) == config_hash(config(*digits, "data.root=/b"))
    assert config_hash(config(*digits, "data.source=svhn")) != config_hash(config(*digits))
