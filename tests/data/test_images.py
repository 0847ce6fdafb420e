import pickle

import pytest
import torch
from torch.testing import assert_close

from da.data.images import Affine, Chain, ToNetwork, resize, warp
from da.data.rows import Draw

DRAW = Draw(torch.arange(6), 3)


def noise(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_grey_is_normalised_and_repeated():
    x = torch.tensor([0, 255], dtype=torch.uint8).repeat_interleave(16).view(2, 4, 4)
    out = ToNetwork(3, 4, mean=0.5, std=0.25)(x, DRAW)
    assert out.shape == (2, 3, 4, 4)
    assert out.dtype == torch.float32
    assert (out[0] == -2).all()
    assert (out[1] == 2).all()


def test_rgb_becomes_grey_by_luminance():
    x = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    x[:, 1] = 255
    assert_close(ToNetwork(1, 4, mean=0.0, std=1.0)(x, DRAW), torch.full((1, 1, 4, 4), 0.587))


def test_rgb_stays_rgb():
    x = noise(2, 3, 4, 4)
    assert_close(ToNetwork(3, 4, mean=0.0, std=1.0)(x, DRAW), x / 255)


def test_the_stored_images_are_left_alone():
    x = noise(6, 4, 4)
    before = x.clone()
    Chain((Affine(10, 1), ToNetwork(1, 4)))(x, DRAW)
    assert torch.equal(x, before)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match="channels must be 1"):
        ToNetwork(2, 28)


def test_transforms_travel_to_a_worker_process():
    chain = Chain((Affine(10, 4), ToNetwork(1, 8)))
    assert_close(pickle.loads(pickle.dumps(chain))(noise(6, 8, 8), DRAW), chain(noise(6, 8, 8), DRAW))


@pytest.mark.parametrize("shape", [(3, 16, 16), (3, 3, 16, 16), (3, 20, 10)])
@pytest.mark.parametrize("size", [9, 28])
def test_resized_constant_image_stays_constant(shape, size):
    out = resize(torch.full(shape, 93, dtype=torch.uint8), size)
    assert out.shape == (*shape[:-2], size, size)
    assert out.dtype == torch.uint8
    assert (out == 93).all()


def test_shrinking_averages_instead_of_picking_pixels():
    comb = torch.tensor([200, 0, 0, 0, 0, 0, 0, 0], dtype=torch.uint8).repeat(8).expand(1, 64, 64)
    assert (resize(comb, 8)[:, :, 1:-1] == 25).all()  # plain bilinear never sees the bright pixels


def test_the_right_size_is_not_copied():
    x = noise(2, 8, 8)
    assert resize(x, 8) is x


def test_many_images_are_resized_as_few_are():
    x = noise(2100, 6, 6)  # more than a chunk
    assert torch.equal(resize(x, 8)[2090:], resize(x[2090:], 8))


def test_warp_by_whole_pixels_moves_right_and_down_and_fills_with_black():
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = warp(x, torch.zeros(2), torch.tensor([[2.0, 1.0]]).expand(2, 2) * 2 / 8)
    assert_close(moved[:, :, 1:, 2:], x[:, :, :-1, :-2])
    assert_close(moved[:, :, 0], torch.zeros(2, 1, 8))
    assert_close(moved[..., :2], torch.zeros(2, 1, 8, 2))


def test_warp_by_a_right_angle_is_rot90():
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    turned = warp(x, torch.tensor([torch.pi / 2]), torch.zeros(1, 2))
    assert_close(turned, torch.rot90(x, -1, (2, 3)), atol=1e-5, rtol=0)  # bilinear weights of 1e-7 times pixels


def test_warp_enlarges_along_the_right_axis():
    x = torch.zeros(1, 1, 16, 16)
    x[:, :, 6:10, 6:10] = 1
    large = warp(x, torch.zeros(1), torch.zeros(1, 2), scale=torch.tensor([[2.0, 1.0]]))[0, 0]
    assert (large[8] > 0.5).sum() == 8
    assert (large[:, 8] > 0.5).sum() == 4


def test_augmentation_of_a_row_does_not_depend_on_its_batch():
    x, augment = noise(6, 12, 12), Affine(20, 3)
    assert torch.equal(augment(x, DRAW)[4:5], augment(x[4:5], Draw(torch.tensor([4]), DRAW.seed)))
    assert not torch.equal(augment(x, DRAW), augment(x, Draw(DRAW.rows, DRAW.seed + 1)))


def test_augmentation_moves_by_up_to_shift_pixels_in_every_direction():
    x = torch.zeros(400, 21, 21, dtype=torch.uint8)
    x[:, 10, 10] = 255
    out = Affine(0, 4)(x, Draw(torch.arange(400), 0)).float()
    place = torch.arange(21.0) - 10
    centre = torch.stack([(out.sum(1) @ place), (out.sum(2) @ place)], dim=1) / out.sum((1, 2))[:, None]
    assert centre.abs().max() <= 4.02  # rounding to uint8
    assert (centre.amax(dim=0) > 3.8).all()
    assert (centre.amin(dim=0) < -3.8).all()


def test_augmentation_keeps_rgb_planes_together():
    x = noise(6, 12, 12)
    rgb = Affine(20, 3)(x[:, None].repeat(1, 3, 1, 1), DRAW)
    assert torch.equal(rgb[:, 0], Affine(20, 3)(x, DRAW))
    assert torch.equal(rgb[:, 0], rgb[:, 2])


def test_no_augmentation_changes_nothing():
    x = noise(6, 12, 12)
    assert torch.equal(Affine(0, 0)(x, DRAW), x)
