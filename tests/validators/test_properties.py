"""What every validator promises, found in conf/validator: it reads no target label, draws no global random number."""

import math

import numpy as np
import pytest
import torch
from conftest import CONF, options
from omegaconf import OmegaConf
from processes import on_processes
from validated import blobs, collapsed, good, random_rows

from da.build import build
from da.types import HIDDEN, Encoded
from da.validators.base import SeenRows

NAMES = options("validator")
COLUMNS = ("z", "logits", "y", "domain", "index")


def built(name):
    return build(OmegaConf.load(CONF / f"validator/{name}.yaml"), name)


RESISTING = [name for name in NAMES if built(name).resists_collapse]


def shown(y, k):
    """Labels of the first k rows of each class, the others hidden."""
    few = torch.cat([(y == c).nonzero()[:k, 0] for c in y.unique()])
    return torch.full_like(y, HIDDEN).index_copy(0, few, y[few])


def labels_for(validator):
    """What a run would show of the labels of the blobs."""
    return shown(blobs()[3], validator.labels_per_class) if validator.labels_per_class else None


@pytest.fixture(params=NAMES)
def validator(request):
    return built(request.param)


def test_does_not_read_target_labels(validator):
    y = blobs()[3]
    if validator.labels_per_class:  # it reads those it is shown, and what it is shown is tested with `Validation`
        assert validator.score(good(y)) != validator.score(good(y.flip(0)))
    else:
        assert torch.equal(validator.score(good()), validator.score(good(y)))


def test_is_the_same_number_every_time_and_draws_nothing_from_the_global_generators(validator):
    seen = good(labels_for(validator))
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    score = validator.score(seen)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # not that of `random`: the checks of types draw from it
    assert score.shape == ()
    torch.manual_seed(2)
    assert torch.equal(validator.score(seen), score)


def collect(collector, seen, role, numbers):
    encoded = getattr(seen, role)
    collector.update(role, Encoded(*(getattr(encoded, column)[numbers] for column in COLUMNS)))


def test_does_not_see_how_the_rows_were_dealt(validator):
    seen = good(labels_for(validator))
    one, first, second = SeenRows(), SeenRows(), SeenRows()
    for role in ("source", "target"):
        n = torch.arange(len(getattr(seen, role).z))
        collect(one, seen, role, n)
        for collector, numbers in ((first, n[40:]), (second, n[7:40].flip(0)), (first, n[:7])):
            collect(collector, seen, role, numbers)
    first.merge_state(second)
    scores = [validator.score(collector.seen()._replace(mix=seen.mix)) for collector in (one, first)]
    assert torch.equal(*scores)


SIZES = [(1, 1), (5, 3), (2, 9), (40, 50), (60, 1)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_random_rows_stay_inside_the_bounds(validator, size, scale):
    seen = random_rows(*size, scale=scale)
    if validator.labels_per_class:
        seen = seen._replace(target=seen.target._replace(y=torch.arange(size[1]) % 4))
    score, (low, high) = float(validator.score(seen)), validator.bounds(seen)
    if math.isnan(score):
        assert min(size) == 1  # a domain of one row has no neighbours, pairs or folds
        return
    assert low - 1e-6 <= score <= high + 1e-6
    scaled = validator.normalised(score, seen)
    assert math.isnan(scaled) if low == high else -1e-6 <= scaled <= 1 + 1e-6


@pytest.mark.parametrize("point", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_collapsed_model_raises_nothing_and_stays_inside_the_bounds(validator, size, point):
    seen = collapsed(n=size[0], m=size[1], point=point)
    score, (low, high) = float(validator.score(seen)), validator.bounds(seen)
    assert math.isnan(score) or low - 1e-6 <= score <= high + 1e-6
    assert min(size) == 1 or validator.labels_per_class or not math.isnan(score)


@pytest.mark.parametrize("name", NAMES)
def test_a_collapse_scores_lower_just_where_the_validator_says_so(name):
    validator = built(name)
    y = labels_for(validator)
    right = float(validator.score(good(y)))
    worst = max(float(validator.score(collapsed(y, point=point))) for point in (False, True))
    assert (worst < right) == validator.resists_collapse


def test_the_normalised_score_of_an_unbounded_validator_grows_from_0_to_1():
    seen, unbounded = good(), built("dev")
    scaled = [unbounded.normalised(score, seen) for score in (-1e9, -1.0, 0.0, 1.0, 1e9)]
    assert scaled == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=1e-8)


def scores_of_a_share(rank, world):
    """Every validator on rows that were dealt unevenly over the processes; all rows on a single one."""
    seen, collector = good(), SeenRows()
    for role in ("source", "target"):
        n = torch.arange(len(getattr(seen, role).z))
        collect(collector, seen, role, n[n % 5 % world == rank])
    together = collector.seen()._replace(mix=seen.mix)
    asked = {name: built(name) for name in NAMES}
    return {name: v.score(together).double() for name, v in asked.items() if not v.labels_per_class}


@pytest.mark.ddp
def test_two_processes_score_what_one_scores():
    expected = scores_of_a_share(0, 1)
    for found in on_processes(2, scores_of_a_share):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
