from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from photos import pixels, write_photo
from PIL import Image
from torch.testing import assert_close

from da.data.files import Files
from da.data.images import CentreCrop, Chain, Flip, RandomCrop, RandomResizedCrop, ToNetwork
from da.data.readers.choose import make_reader
from da.data.readers.images import ImageReader
from da.data.rows import Draw


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def read(folder, size=8, channels=3, **options):
    files = Files(folder)
    return ImageReader(size, channels, **options).read(files, files.names)


def read_one(folder, image, name="a.png", channels=3, resize=8, **save):
    """What the reader makes of this image, [channels, resize, resize]."""
    path = folder / name
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        image.save(path, **save)
    found = read(folder, size=4, channels=channels, resize=resize)
    assert found.bad == {}
    return found.x[0]


def test_images_are_squeezed_into_a_square_as_the_field_does(folder):
    """torchvision's Resize((side, side)) of the PIL image."""
    write_photo(folder / "a.png", 1)
    write_photo(folder / "b.png", 2, h=30, w=9)
    found = read(folder, size=28)
    assert found.x.shape == (2, 3, 32, 32)
    assert found.x.dtype == torch.uint8
    for i, name in enumerate(("a.png", "b.png")):
        squeezed = reference.resize(Image.open(folder / name), [32, 32])
        assert torch.equal(found.x[i], reference.pil_to_tensor(squeezed))


@pytest.mark.parametrize(("size", "resize", "side"), [(224, None, 256), (28, None, 32), (299, None, 342), (8, 20, 20)])
def test_the_stored_size_is_256_to_224_unless_given(size, resize, side):
    assert ImageReader(size, 3, resize=resize).side == side


def test_grey_for_a_network_of_one_channel_is_pillows(folder):
    image = Image.fromarray(pixels(1))
    expected = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BILINEAR))
    assert torch.equal(read_one(folder, image, channels=1)[0], torch.from_numpy(expected.copy()))


def test_grey_files_are_the_same_in_all_channels(folder):
    x = read_one(folder, Image.fromarray(pixels(1)).convert("L"))
    assert torch.equal(x[0], x[2])
    assert x[0].float().std() > 5


PURE = (200, 100, 40)


@pytest.mark.parametrize("mode", ["P", "CMYK", "RGBA", "1", "LA", "I;16", "YCbCr"])
def test_images_of_other_modes_show_the_same_colour(folder, mode):
    image = Image.new("RGB", (10, 10), PURE)
    grey = int(np.asarray(image.convert("L"))[0, 0])
    expected = {"1": (255,) * 3, "LA": (grey,) * 3, "I;16": (grey,) * 3}.get(mode, PURE)
    make = {
        "P": lambda: image.quantize(4),
        "1": lambda: Image.new("1", (10, 10), 1),
        "LA": lambda: image.convert("L").convert("LA"),
        "I;16": lambda: Image.fromarray(np.full((10, 10), grey * 256 + 77, dtype=np.uint16)),
    }
    image = make.get(mode, lambda: image.convert(mode))()
    assert image.mode == mode
    suffix = ".jpg" if mode in ("CMYK", "YCbCr") else ".png"
    options = {"quality": 100} if suffix == ".jpg" else {}
    x = read_one(folder, image, "a" + suffix, **options)
    difference = (x.float() - torch.tensor(expected).view(3, 1, 1)).abs().max()
    assert difference <= (3 if suffix == ".jpg" else 0)  # JPEG rounds


@pytest.mark.parametrize("mode", ["RGBA", "LA", "webp", "palette", "key colour"])
def test_what_is_transparent_lies_on_white(folder, mode):
    """Black, of which the right half is transparent."""
    alpha = Image.new("L", (16, 16), 255)
    alpha.paste(0, (8, 0, 16, 16))
    save = {}
    if mode in ("RGBA", "LA"):
        image = Image.new(mode, (16, 16))
        image.putalpha(alpha)
    elif mode == "webp":
        image = Image.new("RGBA", (16, 16))
        image.putalpha(alpha)
        save = {"format": "WEBP", "lossless": True}
    else:
        image = Image.new("P" if mode == "palette" else "RGB", (16, 16), 0 if mode == "palette" else (0, 0, 0))
        if mode == "palette":
            image.putpalette([0, 0, 0, 9, 9, 9])
            image.paste(1, (8, 0, 16, 16))
            save = {"transparency": bytes([255, 0])}
        else:
            image.paste((9, 9, 9), (8, 0, 16, 16))
            save = {"transparency": (9, 9, 9)}
    x = read_one(folder, image, resize=16, **save)
    assert (x[:, :, :7] == 0).all()
    assert (x[:, :, 9:] == 255).all()


def test_sixteen_bits_keep_their_range(folder):
    """Pillow's own conversion clips at 255."""
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (256, 1))
    x = read_one(folder, Image.fromarray(ramp), resize=256)
    assert torch.equal(x[0, 0], torch.arange(256, dtype=torch.uint8))


def test_images_are_turned_as_their_exif_data_say(folder):
    image = Image.fromarray(pixels(1, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    turned = read_one(folder, image, "a.png", resize=16, exif=exif)
    upright = torch.from_numpy(pixels(1, 16, 16).copy()).permute(2, 0, 1)
    assert torch.equal(turned, torch.rot90(upright, -1, (1, 2)))


def test_of_an_animation_the_first_frame_is_read(folder):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    x = read_one(folder, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert x[:, 4, 4].tolist() == [255, 0, 0]


def jpeg(seed=0, **options):
    buffer = BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture
def mixed(folder):
    """Two good files among five; the others each bad in a way of its own."""
    write_photo(folder / "b.jpg", 1)
    write_photo(folder / "d.png", 2)
    (folder / "a.jpg").write_bytes(jpeg()[:-300])
    (folder / "c.jpg").write_bytes(b"")
    (folder / "e.png").write_bytes(b"no image at all, but text")
    Image.fromarray(np.ones((9, 9), np.float32)).save(folder / "f.tif")
    return folder


def test_bad_files_are_named_and_the_others_read(mixed):
    for _ in range(2):  # decoded, then from the cache
        found = read(mixed, size=14)
        assert found.good == [1, 3]
        assert list(found.bad) == ["a.jpg", "c.jpg", "e.png", "f.tif"]
        reasons = list(found.bad.values())
        assert reasons[:2] == ["truncated", "empty"]
        assert reasons[2].startswith("is none of JPEG, PNG")
        assert "mode F" in reasons[3]
        assert found.x.shape == (2, 3, 16, 16)
        for row, name in enumerate(("b.jpg", "d.png")):
            alone = ImageReader(14, 3).read(Files(mixed), [name]).x[0]
            assert torch.equal(found.x[row], alone)


def test_a_file_that_is_gone_or_locked_is_bad(folder):
    write_photo(folder / "a.jpg", 1)
    found = ImageReader(8, 3).read(Files(folder), ["a.jpg", "lost.jpg"])
    assert found.good == [0]
    assert "No such file" in found.bad["lost.jpg"]


def test_a_truncated_file_that_was_mended_is_read(folder):
    (folder / "a.jpg").write_bytes(jpeg()[:-300])
    assert read(folder).bad == {"a.jpg": "truncated"}
    (folder / "a.jpg").write_bytes(jpeg())
    assert read(folder).bad == {}


def decoded(monkeypatch):
    """Count the files that are decoded."""
    from da.data.readers import images

    seen, decode = [], images.decode
    monkeypatch.setattr(images, "decode", lambda *arguments: seen.append(1) or decode(*arguments))
    return seen


def test_every_file_is_decoded_once(folder, monkeypatch):
    for i in range(5):
        write_photo(folder / f"{i}.jpg", i)
    seen = decoded(monkeypatch)
    first = read(folder)
    assert len(seen) == 5
    assert torch.equal(read(folder, augment="none", mean=0.3).x, first.x)
    assert len(seen) == 5


@pytest.mark.parametrize("change", ["content", "resize", "channels", "order", "version"])
def test_what_matters_to_the_pixels_is_another_entry(folder, monkeypatch, change):
    for i in range(2):
        write_photo(folder / f"{i}.png", i)
    seen = decoded(monkeypatch)
    before = read(folder, size=14).x
    files, options = Files(folder), {"size": 14, "channels": 3}
    names = files.names
    if change == "content":
        write_photo(folder / "1.png", 7)
    elif change == "order":
        names = names[::-1]
    elif change == "version":
        monkeypatch.setattr(ImageReader, "version", 2)
    else:
        options[change] = {"resize": 20, "channels": 1}[change]
    after = ImageReader(**options).read(files, names).x
    assert len(seen) == 4
    if change == "order":
        assert torch.equal(after, before.flip(0))


def test_as_many_threads_decode_as_pytorch_uses(folder, monkeypatch):
    from da.data.readers import images

    made = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers):
            made.append(workers)
            super().__init__(workers)

    write_photo(folder / "a.png", 1)
    write_photo(folder / "b.png", 2)
    monkeypatch.setattr(images, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(images, "MANY", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert read(folder).good == [0, 1]
    assert made == [3]


def test_the_network_gets_normalised_images_of_its_size(folder):
    write_photo(folder / "a.png", 1, 32, 32)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    reader = ImageReader(28, 3, mean=list(mean), std=list(std))
    x = reader.read(Files(folder), ["a.png"]).x
    out = reader.eval_transform(x, Draw(torch.arange(1), 0))
    tensor = torch.from_numpy(pixels(1, 32, 32).copy()).permute(2, 0, 1)
    expected = reference.normalize(reference.center_crop(tensor, [28, 28]) / 255, mean, std)
    assert_close(out[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [10, 11])
def test_centre_crop_is_torchvisions(side):
    x = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    assert torch.equal(CentreCrop(side, 8)(x, None), reference.center_crop(x, [8, 8]))


ROWS = Draw(torch.arange(400), 5)
IMAGES = torch.randint(0, 256, (400, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_random_resized_crop_is_torchvisions_of_the_same_box():
    crop = RandomResizedCrop(32, 28)
    out = crop(IMAGES, ROWS)
    for i, (top, left, h, w) in enumerate(crop.boxes(ROWS)[:50].tolist()):
        expected = reference.resized_crop(IMAGES[i], top, left, h, w, [28, 28], antialias=True)
        assert torch.equal(out[i], expected)


def test_boxes_are_drawn_as_torchvision_draws_them():
    from torchvision.transforms.v2 import RandomResizedCrop as Theirs

    theirs, image = Theirs(224), torch.zeros(3, 256, 256)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [theirs.make_params([image]) for _ in range(4000)]
    expected = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn]).float()
    ours = RandomResizedCrop(256, 224).boxes(Draw(torch.arange(4000), 3)).float()
    for column in range(4):  # 4000 draws each: the deciles of 256 pixels differ by a few pixels only
        deciles = torch.linspace(0.1, 0.9, 9)
        assert_close(ours[:, column].quantile(deciles), expected[:, column].quantile(deciles), rtol=0, atol=6)
    assert (ours[:, 0] + ours[:, 2]).max() <= 256
    assert (ours[:, 1] + ours[:, 3]).max() <= 256
    assert ours.min() >= 0


def test_a_box_that_never_fits_is_the_whole_image():
    boxes = RandomResizedCrop(32, 28, area=(2.0, 3.0)).boxes(ROWS)
    assert boxes.unique(dim=0).tolist() == [[0, 0, 32, 32]]


def test_random_crop_takes_a_part_as_it_is_from_every_place():
    x = torch.arange(32 * 32).view(1, 1, 32, 32).expand(400, 1, 32, 32)
    corners = RandomCrop(32, 28)(x, ROWS)[:, 0, 0, 0]
    assert set(corners.tolist()) == {32 * top + left for top in range(5) for left in range(5)}
    one = RandomCrop(32, 28)(x, ROWS)[0, 0]
    assert torch.equal(one[1:] - one[:-1], torch.full((27, 28), 32))


def test_half_of_the_images_are_mirrored():
    out = Flip()(IMAGES, ROWS)
    mirrored = torch.tensor([torch.equal(a, b.flip(-1)) for a, b in zip(out, IMAGES, strict=True)])
    same = torch.tensor([torch.equal(a, b) for a, b in zip(out, IMAGES, strict=True)])
    assert (mirrored ^ same).all()
    assert 160 < mirrored.sum() < 240  # four standard deviations


@pytest.mark.parametrize("augment", ["crop_flip", "shift_flip", "flip", "none"])
def test_augmentation_depends_on_seed_and_row_only(augment):
    transform = ImageReader(28, 3, augment=augment).train_transform
    x, chosen = IMAGES[:40], torch.tensor([7, 30, 2])
    before = x.clone()
    whole, part = transform(x, Draw(torch.arange(40), 9)), transform(x[chosen], Draw(chosen, 9))
    assert torch.equal(whole[chosen], part)
    assert torch.equal(x, before)
    assert whole.shape == (40, 3, 28, 28)
    other = transform(x, Draw(torch.arange(40), 10))
    assert torch.equal(whole, other) == (augment == "none")


def test_not_augmented_is_as_scored():
    reader = ImageReader(28, 3, augment="none")
    assert torch.equal(reader.train_transform(IMAGES, ROWS), reader.eval_transform(IMAGES, ROWS))


def test_a_transform_is_named_by_its_settings():
    """The name is part of the key of cached features."""
    names = {
        repr(ImageReader(**settings).eval_transform)
        for settings in (
            {"size": 28, "channels": 3},
            {"size": 28, "channels": 1},
            {"size": 24, "channels": 3, "resize": 32},
            {"size": 28, "channels": 3, "resize": 40},
            {"size": 28, "channels": 3, "mean": [0.1, 0.2, 0.3]},
            {"size": 28, "channels": 3, "std": 0.2},
        )
    }
    assert len(names) == 6
    assert repr(ImageReader(28, 3, mean=[0.1, 0.2, 0.3]).eval_transform) in names
    assert not any("0x" in name for name in names)


def test_normalisation_by_channel_agrees_with_the_one_for_all():
    for x in (IMAGES, IMAGES[:, 0]):
        one, each = ToNetwork(3, 32, 0.4, 0.3), ToNetwork(3, 32, (0.4,) * 3, (0.3,) * 3)
        assert torch.equal(one(x, ROWS), each(x, ROWS))
    out = ToNetwork(3, 32, mean=(0.0, 0.5, 1.0), std=1.0)(IMAGES[:, 0], ROWS)
    assert_close(out[:, 0] - out[:, 2], torch.ones(400, 32, 32))
    with pytest.raises(ValueError, match="mean has 3 values, but the images have channels=1"):
        ToNetwork(1, 32, mean=(0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"augment": "mirror"}, r"data.augment='mirror', but what can be done is \['crop_flip'"),
        ({"resize": 20}, "data.resize=20 is smaller than the network's images: net.input.size=28"),
        ({"channels": 4}, "channels must be 1"),
        ({"mean": [0.1, 0.2]}, "mean has 2 values"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ImageReader(**{"size": 28, "channels": 3} | settings)


def test_a_network_that_takes_images_gets_this_reader():
    reader = make_reader({"size": 28, "channels": 1, "mean": 0.1307, "std": 0.3081}, augment="none")
    assert isinstance(reader, ImageReader)
    assert reader.eval_transform == Chain((CentreCrop(32, 28), ToNetwork(1, 28, 0.1307, 0.3081)))
