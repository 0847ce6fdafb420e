import pytest
import torch
from conftest import everything
from torch.testing import assert_close

from da.data.toy import Toy, rotate

BATCH_SIZE = {"source": 4, "target": 4}


def toy(shape="moons", **settings):
    return Toy(shape, **{"num_classes": 2, "batch_size": BATCH_SIZE, "num_rows": 300} | settings)


def test_target_turned_back_lies_on_the_source_moons():
    batch = everything(toy(noise=0.0, rotation=70.0).domain("target").train)
    upper = rotate(batch.x, -70.0) * torch.where(batch.y == 0, 1.0, -1.0)[:, None]
    x, y = (upper - torch.tensor([-0.5, -0.25])).T
    assert_close(x.square() + y.square(), torch.ones(300))
    assert y.min() > -1e-6  # the upper half


def test_rotation_is_counterclockwise():
    assert_close(rotate(torch.tensor([[1.0, 0.0]]), 90.0), torch.tensor([[0.0, 1.0]]))


def test_target_moved_back_lies_on_the_source_centres():
    data = toy("blobs", num_classes=5, noise=0.0, shift=3.0)
    source, target = (everything(data.domain(role).test) for role in ("source", "target"))
    assert_close(target.x - 3.0, source.x)  # without noise a blob is a point
    assert_close(source.x.norm(dim=1), torch.full((300,), 4.0))


def test_noise_has_the_given_standard_deviation():
    still, noisy = (everything(toy("blobs", num_rows=4000, noise=s).domain("source").train).x for s in (0.0, 0.3))
    assert_close((noisy - still).std(), torch.tensor(0.3), atol=0.01, rtol=0)  # four standard errors


def test_splits_and_domains_are_independent_draws():
    data = toy(rotation=0.0)
    source, target = data.domain("source"), data.domain("target")
    sets = [everything(rows).x for rows in (source.train, source.val, source.test, target.train, target.test)]
    assert len(torch.cat(sets).unique(dim=0)) == 5 * 300


def test_points_depend_on_the_data_seed_and_not_on_the_seed_of_the_run():
    hashes = []
    for settings in ({"seed": 1}, {"seed": 2}, {"data_seed": 1}):
        data = toy(**settings)
        data.domain("source")
        hashes.append(data.hashes())
    assert hashes[0] == hashes[1] != hashes[2]


def test_classes_are_balanced():
    assert everything(toy("blobs", num_classes=3).domain("target").train).y.bincount().tolist() == [100] * 3


def test_points_are_float32_in_the_plane():
    x = everything(toy().domain("source").train).x
    assert x.shape == (300, 2)
    assert x.dtype == torch.float32


def test_target_name_says_the_shift():
    assert toy(rotation=45.0).names() == {"source": "moons", "target": "moons rotated 45"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": "rings"}, "data.shape is 'rings', but the shapes are"),
        ({"num_classes": 3}, "data.num_classes=3, but there are two moons"),
        ({"num_features": 3}, "data.num_features=3"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        toy(**settings)
