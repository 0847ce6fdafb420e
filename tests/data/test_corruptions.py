"""Closed forms, naive loops and known statistics of each corruption, at the published settings."""

import colorsys
from io import BytesIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter, zoom
from torch.testing import assert_close

from da.data.corruptions import CORRUPTIONS, corrupt
from da.data.distortions import disk_blur, displaced, motion_blur, normal_blur, plasma, three_point_map, zoomed
from da.data.rows import Draw


def photos(n=40, seed=0):
    """Smooth random images, uint8 [n, 3, 32, 32]."""
    coarse = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (F.interpolate(coarse, size=32, mode="bilinear") * 255).to(torch.uint8)


def grey(level, n=64):
    return torch.full((n, 3, 32, 32), level, dtype=torch.uint8)


def change(x, name, severity):
    return (corrupt(x, name, severity).float() - x.float()).abs().mean().item()


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("severity", [1, 5])
def test_images_stay_images_and_change(name, severity):
    x = photos()
    y = corrupt(x, name, severity)
    assert y.shape == x.shape
    assert y.dtype == torch.uint8
    assert 0.5 < (y.float() - x.float()).abs().mean() < 128
    assert torch.equal(x, photos())


# Not of glass_blur, motion_blur, elastic_transform and pixelate: their settings trade one thing for another.
ORDERED = sorted(CORRUPTIONS.keys() - {"glass_blur", "motion_blur", "elastic_transform", "pixelate"})


@pytest.mark.parametrize("name", ORDERED)
def test_more_severe_changes_more(name):
    x = photos()
    changes = [change(x, name, severity) for severity in (1, 2, 3, 4, 5)]
    assert changes == sorted(set(changes))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_row_depends_on_its_number_and_the_seed_only(name):
    x = photos(6)[[0, 1, 2, 3, 4, 5] * 90]  # more than a chunk
    y = corrupt(x, name, 3)
    assert torch.equal(y, corrupt(x, name, 3))
    assert torch.equal(y[:7], corrupt(x[:7], name, 3))
    random = not torch.equal(y[:6], y[6:12])
    assert random == (not torch.equal(y, corrupt(x, name, 3, seed=1)))
    assert random == (
        name not in {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    )


@pytest.mark.parametrize(("severity", "std"), list(enumerate([0.04, 0.06, 0.08, 0.09, 0.10], start=1)))
def test_gaussian_noise_has_its_standard_deviation(severity, std):
    y = (corrupt(grey(127), "gaussian_noise", severity).double() - 126.5) / 255  # half a level is cut off on average
    n = y.numel()
    assert y.std().item() == pytest.approx(std, rel=5 / (2 * n) ** 0.5 + 1e-3)  # the cut adds 1/12 of a level^2
    assert y.mean().item() == pytest.approx(0, abs=5 * std / n**0.5)


@pytest.mark.parametrize("photons", CORRUPTIONS["shot_noise"].settings)
def test_shot_noise_has_the_mean_and_variance_of_a_poisson_number(photons):
    """Before it is cut off to grey levels, which are nearly as far apart as the counts are."""
    for level in (0, 40, 100, 255):
        x = grey(level).float() / 255
        y = CORRUPTIONS["shot_noise"].corrupt(x, photons, Draw(torch.arange(len(x)), photons)).double()
        n, mean = y.numel(), level / 255
        assert y.mean().item() == pytest.approx(mean, abs=5 * (mean / photons / n) ** 0.5)
        assert y.var().item() == pytest.approx(mean / photons, rel=5 * (3 / n) ** 0.5, abs=1e-12)


def test_shot_noise_counts_photons():
    y = corrupt(grey(51), "shot_noise", 5)  # a mean of 10 photons of 50
    shares = torch.bincount((y.flatten().double() * 50 / 255).ceil().long(), minlength=30)[:30] / y.numel()
    expected = torch.distributions.Poisson(torch.tensor(10.0, dtype=torch.float64)).log_prob(torch.arange(30.0)).exp()
    assert_close(shares.double(), expected, atol=5 * (0.125 / y.numel()) ** 0.5, rtol=0)


@pytest.mark.parametrize(("severity", "amount"), list(enumerate([0.01, 0.02, 0.03, 0.05, 0.07], start=1)))
def test_impulse_noise_is_salt_and_pepper_in_equal_shares(severity, amount):
    y = corrupt(grey(100), "impulse_noise", severity)
    assert set(y.unique().tolist()) == {0, 100, 255}
    for value in (0, 255):
        share = (y == value).double().mean().item()
        assert share == pytest.approx(amount / 2, abs=5 * (amount / 2 / y.numel()) ** 0.5)


@pytest.mark.parametrize(("severity", "more"), list(enumerate([0.05, 0.1, 0.15, 0.2, 0.3], start=1)))
def test_brightness_raises_the_value_of_hsv(severity, more):
    x = photos(2)
    x[0, :, 0, 0] = 0
    expected = torch.empty_like(x)
    for n, h, w in np.ndindex(2, 32, 32):
        hue, saturation, value = colorsys.rgb_to_hsv(*(x[n, :, h, w] / 255).tolist())
        rgb = colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1))
        expected[n, :, h, w] = torch.tensor([int(channel * 255 + 1e-3) for channel in rgb])
    assert torch.equal(corrupt(x, "brightness", severity), expected)


@pytest.mark.parametrize(("severity", "share"), list(enumerate([0.75, 0.5, 0.4, 0.3, 0.15], start=1)))
def test_contrast_shrinks_towards_the_mean_of_each_channel(severity, share):
    x = photos()
    mean = x.double().mean(dim=(2, 3), keepdim=True)
    expected = (mean + share * (x.double() - mean)).clamp(0, 255)
    assert_close(corrupt(x, "contrast", severity).double() + 0.5, expected, atol=0.502, rtol=0)


@pytest.mark.parametrize("name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "pixelate", "contrast"])
def test_what_is_grey_all_over_stays_so(name):
    for severity in (1, 5):
        assert torch.equal(corrupt(grey(93, 3), name, severity), grey(93, 3))


def test_jpeg_compression_is_that_of_pillow():
    x = photos(3)
    for severity, quality in enumerate([80, 65, 58, 50, 40], start=1):
        for image, compressed in zip(x, corrupt(x, "jpeg_compression", severity), strict=True):
            file = BytesIO()
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
            assert np.array_equal(compressed.permute(1, 2, 0).numpy(), np.asarray(Image.open(file)))


def test_pixelate_is_the_identity_at_size_one_and_blocks_at_half():
    pixelate = CORRUPTIONS["pixelate"].corrupt
    x = photos(3).float() / 255
    assert_close(pixelate(x, 1.0, None), x)
    blocks = F.avg_pool2d(x, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert_close(pixelate(x, 0.5, None), blocks, atol=1.01 / 255, rtol=0)  # Pillow rounds twice, to grey levels


def test_zoom_is_scipys_bilinear_one():
    x = photos(2).float() / 255
    for factor in (1.0, 1.06, 1.11, 1.25, 1.75, 2.25):
        kept = int(np.ceil(32 / factor))
        first = (32 - kept) // 2
        middle = x.numpy()[:, :, first : first + kept, first : first + kept]
        large = zoom(middle, (1, 1, factor, factor), order=1)
        cut = (large.shape[2] - 32) // 2
        assert_close(
            zoomed(x, factor), torch.from_numpy(large[:, :, cut : cut + 32, cut : cut + 32]), atol=1e-5, rtol=0
        )


def test_zoom_blur_is_the_mean_of_the_image_and_its_zooms():
    x = photos(2)
    images = [x / 255, *(zoomed(x / 255, factor) for factor in (1, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06))]
    expected = torch.stack(images).mean(dim=0) * 255
    assert len(np.arange(1, 1.06, 0.01)) == len(images) - 1  # rounding makes it 7 numbers, in the published code too
    assert_close(corrupt(x, "zoom_blur", 1) + 0.5, expected, atol=0.51, rtol=0)


@pytest.mark.parametrize("setting", CORRUPTIONS["defocus_blur"].settings)
def test_defocus_blur_is_a_smoothed_disk(setting):
    radius, sigma = setting
    x = photos(2).float() / 255
    y, z = np.mgrid[-8:9, -8:9]
    disk = (y**2 + z**2 <= radius**2).astype(float)
    bell = np.exp(-0.5 * (np.arange(-1, 2) / sigma) ** 2)
    kernel = convolve(disk / disk.sum(), np.outer(bell, bell) / bell.sum() ** 2, mode="constant")
    expected = np.stack([[convolve(c.numpy(), kernel, mode="mirror") for c in image] for image in x])
    assert_close(disk_blur(x, *setting), torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_motion_blur_is_half_a_bell_along_the_angle():
    x, angle = photos(3).float() / 255, torch.tensor([-45.0, 0.0, 100.0])
    radius, sigma = 3, 2.0
    weight = np.exp(-0.5 * (np.arange(7) / sigma) ** 2)
    expected = torch.zeros_like(x)
    for n, degrees in enumerate(angle.tolist()):
        for k, share in enumerate(weight / weight.sum()):
            dx = int(np.ceil(k * np.cos(np.deg2rad(degrees)) - 0.5))
            dy = int(np.ceil(k * np.sin(np.deg2rad(degrees)) - 0.5))
            for h, w in np.ndindex(32, 32):
                expected[n, :, h, w] += share * x[n, :, min(max(h + dy, 0), 31), min(max(w + dx, 0), 31)]
    assert_close(motion_blur(x, radius, sigma, angle), expected)


def test_glass_blur_moves_pixels_by_one_to_the_right_and_down():
    """Without smoothing, every pixel is itself or a neighbour above or on the left, and the first two rows stay."""
    x = photos(2).float() / 255
    y = CORRUPTIONS["glass_blur"].corrupt(x, (0.05, 1), Draw(torch.arange(2), 0))
    assert_close(y[:, :, :2], x[:, :, :2])
    assert_close(y[:, :, :, :2], x[:, :, :, :2])
    near = torch.stack([x.roll((dy, dx), (2, 3)) for dy in (0, 1) for dx in (0, 1)])
    distance = (near - y).abs().sum(dim=2).amin(dim=0)
    assert distance.max() < 1e-5
    assert not torch.equal(x, y)


def test_plasma_is_the_diamond_square_algorithm():
    size, decay = 8, 2.0
    u = 2 * torch.rand(2, size * size, generator=torch.Generator().manual_seed(0)) - 1
    made = plasma(u, size, decay)
    for n in range(2):
        numbers = iter(u[n].tolist())
        grid = np.zeros((size, size))
        step, wibble = size, 100.0
        while step >= 2:
            half = step // 2
            for offsets, centre in (
                (((-half, -half), (-half, half), (half, -half), (half, half)), (half, half)),
                (((-half, 0), (half, 0), (0, -half), (0, half)), (0, half)),
                (((-half, 0), (half, 0), (0, -half), (0, half)), (half, 0)),
            ):
                for y in range(centre[0], size, step):
                    for x in range(centre[1], size, step):
                        around = sum(grid[(y + dy) % size, (x + dx) % size] for dy, dx in offsets)
                        grid[y, x] = around / 4 + wibble * wibble * next(numbers)
            step, wibble = half, wibble / decay
        expected = (grid - grid.min()) / (grid.max() - grid.min())
        assert_close(made[n], torch.from_numpy(expected).float(), atol=1e-4, rtol=0)


def test_fog_brightens_most_what_is_dark_and_keeps_the_brightest_level():
    x = photos()
    for severity, amount in enumerate([0.2, 0.5, 0.75, 1, 1.5], start=1):
        y = corrupt(x, "fog", severity)
        most = x.amax(dim=(1, 2, 3), keepdim=True).float() / 255
        assert (y.amax(dim=(1, 2, 3), keepdim=True) <= x.amax(dim=(1, 2, 3), keepdim=True)).all()
        lowest = (x.float() * most / (most + amount)).floor() - 1
        assert (y >= lowest).all()


def test_snow_only_brightens_and_its_flakes_are_symmetric_about_the_middle():
    x = grey(0, 8)
    for severity, (mean, std, _, threshold, *_, kept) in enumerate(CORRUPTIONS["snow"].settings, start=1):
        y = corrupt(x, "snow", severity)
        ground = int((1 - kept) * 0.5 * 255 + 1e-3)
        assert y.min() >= ground
        assert torch.equal(y, y.flip(2, 3))
        assert torch.equal(y[:, 0], y[:, 1])
        assert (y > ground).any() == (mean + 6 * std > threshold)


def test_three_points_land_where_they_should():
    """A bright pixel at each of the points is found where the point moved to, a whole number of pixels away."""
    points = torch.tensor([[26.0, 26], [26, 6], [6, 6]])
    moved = points + torch.tensor([3.0, -2.0])
    x = torch.zeros(1, 1, 32, 32)
    for w, h in points.long().tolist():
        x[0, 0, h, w] = 1
    y = three_point_map(x, points, moved[None])
    for w, h in moved.long().tolist():
        assert y[0, 0, h, w] == pytest.approx(1, abs=1e-4)
    assert y.sum() == pytest.approx(3, abs=1e-3)


def test_displacement_by_whole_pixels_is_a_shift_with_mirrored_edges():
    x = photos(2).float()
    y = displaced(x, torch.tensor([2.0, -1.0]).expand(2, 32, 32, 2))
    expected = F.pad(x, (0, 2, 1, 0), mode="replicate")  # the mirror repeats the edge once
    expected[:, :, :, -1] = expected[:, :, :, -4]
    assert_close(y, expected[:, :, :32, 2:], atol=1e-2, rtol=0)


def test_normal_blur_is_scipys():
    x = photos(1).float()
    assert_close(normal_blur(x, 0.7)[0, 1], torch.from_numpy(gaussian_filter(x[0, 1].numpy(), 0.7, mode="nearest")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((grey(0), "rain", 1), "there is no corruption 'rain', but gaussian_noise, shot_noise"),
        ((grey(0), "frost", 1), "frost is not among them, since it pastes photos"),
        ((grey(0), "fog", 6), "the severity of a corruption is 1 to 5, not 6"),
        ((grey(0)[:, :, :28], "fog", 1), r"uint8 images \[n, 3, 32, 32\], got torch.uint8 \[64, 3, 28, 32\]"),
        ((grey(0).float(), "fog", 1), "uint8 images .* got torch.float32"),
    ],
)
def test_what_there_is_not_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        corrupt(*arguments)
