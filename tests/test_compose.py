"""Options of `da train` outside of it: composed, and multiplied out."""

import pytest
import torch
from conftest import TOY, config

from da.assemble import assemble
from da.compose import combinations, compose_config
from da.features import features
from da.types import HIDDEN


def test_every_combination_of_the_choices_the_last_one_fastest():
    words = ["net=a,b", "data.classes=[x,y]", "data.source=p,q"]
    assert combinations(words) == [
        [f"net={net}", "data.classes=[x,y]", f"data.source={source}"] for net in "ab" for source in "pq"
    ]
    assert combinations([]) == [[]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=nope"], "Could not find 'data/nope'"),
        (["nope=1"], "nope"),
    ],
)
def test_a_wrong_option_is_a_value_error_of_one_line(words, said):
    with pytest.raises(ValueError, match=said) as caught:
        compose_config(words)
    assert "\n" not in str(caught.value)


def test_features_are_the_network_on_the_rows_and_target_labels_stay_hidden():
    data, net = assemble(config(*TOY))
    for role in ("source", "target"):
        rows = data.domain(role).train
        found = features(data, net, role)
        assert len(found.y) == len(rows)
        assert (found.y == HIDDEN).all() == (role == "target")
        torch.testing.assert_close(net.head(net.bottleneck(found.backbone)), found.logits)
    shown = features(data, net, "target", most=10, labels=True)
    assert len(shown.y) == 10
    assert set(shown.y.tolist()) == {0, 1}
    assert torch.equal(shown.z, features(data, net, "target", most=10).z)
