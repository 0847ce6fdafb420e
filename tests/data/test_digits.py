import bz2
import os
import time
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from conftest import everything
from PIL import Image
from scipy.io import savemat
from torch.testing import assert_close

from da.data import digits, download
from da.data.digits import Digits
from da.data.rows import Draw

BATCH_SIZE = {"source": 4, "target": 4}


def make(root=None, **settings):
    return Digits(root=root and str(root), **{"num_classes": 10, "batch_size": BATCH_SIZE} | settings)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Tiny files: 40 train and 20 test images, the first pixel of each its number."""
    folder = tmp_path / "data"
    (folder / "digits").mkdir(parents=True)
    for name, size in (("mnist", 28), ("usps", 16)):
        arrays = {}
        for part, n in (("train", 40), ("test", 20)):
            arrays[f"x_{part}"] = np.zeros((n, size, size), np.uint8)
            arrays[f"x_{part}"][:] = np.arange(n, dtype=np.uint8)[:, None, None]
            arrays[f"y_{part}"] = np.arange(n) % 10
        file = folder / "digits" / f"{name}.npz"
        np.savez(file, **arrays)
        monkeypatch.setitem(digits.SHA256, file.name, digits.sha256(file))
    return folder


def test_source_holds_out_a_part_and_target_trains_on_all(root):
    data = make(root)
    source, target = data.domain("source"), data.domain("target")
    assert [len(rows) for rows in (source.train, source.val, source.test)] == [36, 4, 20]
    assert [len(rows) for rows in (target.train, target.val, target.test)] == [40, 40, 20]
    held = [everything(rows).x[:, 0, 0, 0] for rows in (source.train, source.val)]
    assert len(torch.cat(held).unique()) == 40


@pytest.mark.parametrize("pair", [("mnist", "usps"), ("usps", "mnist")])
def test_images_labels_and_domain_belong_together(root, pair):
    data = make(root, source=pair[0], target=pair[1], size=20, channels=3)
    for role, name in zip(("source", "target"), pair, strict=True):
        batch = everything(data.domain(role).test)
        assert batch.x.shape == (20, 3, 20, 20)
        assert (batch.domain == digits.NAMES.index(name)).all()
        number = ((batch.x[:, 0, 9, 9] / 2 + 0.5) * 255).round().long()
        assert torch.equal(number, torch.arange(20))
        assert torch.equal(batch.y, number % 10)


def test_only_source_train_rows_are_augmented(root):
    data, plain = (make(root, augment=augment) for augment in ({"degrees": 10, "shift": 4}, None))
    for role, split in (("source", "val"), ("source", "test"), ("target", "train"), ("target", "test")):
        a, b = (everything(getattr(each.domain(role), split)) for each in (data, plain))
        assert torch.equal(a.x, b.x)
    a, b = (everything(each.domain("source").train) for each in (data, plain))
    assert torch.equal(a.y, b.y)
    assert not torch.equal(a.x, b.x)


def test_images_are_held_in_memory_once(root):
    source = make(root).domain("source")
    assert source.train.rows.x.data_ptr() == source.val.rows.x.data_ptr()


def test_root_may_come_from_the_environment(root, monkeypatch):
    monkeypatch.setenv("DA_DATA_ROOT", str(root))
    data = make()
    data.domain("source")
    assert data.hashes() == {"mnist": digits.SHA256["mnist.npz"]}


def test_changed_file_is_refused(root):
    file = root / "digits" / "usps.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"usps.npz is not the file .* expected {digits.SHA256['usps.npz']}"):
        make(root).domain("target")


def test_file_with_a_pickle_in_it_is_refused(root, monkeypatch):
    file = root / "digits" / "usps.npz"
    np.savez(file, x_train=np.array([{}], dtype=object))
    monkeypatch.setitem(digits.SHA256, file.name, digits.sha256(file))
    with pytest.raises(ValueError, match="allow_pickle"):
        make(root).domain("target")


def test_torchvision_files_are_used_without_a_network(tmp_path):
    folder = tmp_path / "torchvision"
    folder.mkdir()
    for file, n in (("usps.bz2", 12), ("usps.t.bz2", 6)):
        lines = [f"{i % 10 + 1} " + " ".join(f"{k + 1}:{-1 + 2 * (i % 2)}" for k in range(256)) for i in range(n)]
        (folder / file).write_bytes(bz2.compress("\n".join(lines).encode()))
    data = make(tmp_path, source="mnist", target="usps")
    batch = everything(data.domain("target").train)
    assert batch.y.tolist() == [i % 10 for i in range(12)]
    assert_close(batch.x[:, 0, 14, 14], torch.tensor([-1.0, 1.0]).repeat(6))
    assert len(data.hashes()["usps"]) == 64


def test_missing_file_says_where_it_was_looked_for_and_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path).domain("source")
    for part in (tmp_path / "digits" / "mnist.npz", tmp_path / "torchvision", "https://", "DA_DATA_ROOT", "data.root"):
        assert str(part) in str(error.value)


def test_silent_network_does_not_hang(monkeypatch):
    def silent(*_, **__):
        time.sleep(10)
        raise URLError("too late")

    monkeypatch.setattr(download, "PROBE_SECONDS", 0.2)
    monkeypatch.setattr(download, "urlopen", silent)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=r"no answer in 0\.2 seconds"):
        make(source="svhn").domain("source")
    assert time.monotonic() - start < 5


def save_photos(folder, sizes, seed=0):
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    photos = [generator.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in sizes]
    for number, photo in enumerate(photos):
        Image.fromarray(photo).save(folder / f"{number}.jpg", quality=95)
    return [np.asarray(Image.open(folder / f"{number}.jpg").convert("RGB")).astype(int) for number in range(len(sizes))]


def test_mnistm_is_the_difference_of_a_digit_and_a_patch_of_a_photo(root):
    photos = save_photos(root / "digits/BSR/BSDS500/data/images/train", [(30, 31), (29, 33)])
    made, mnist = digits.read_digits("mnistm", str(root)), digits.read_digits("mnist", str(root))
    assert torch.equal(made.y_train, mnist.y_train)
    assert torch.equal(made.y_test, mnist.y_test)
    chosen = set()
    for part in ("x_train", "x_test"):
        blended, plain = getattr(made, part), getattr(mnist, part).numpy().astype(int)
        assert blended.dtype == torch.uint8
        assert blended.shape == (len(plain), 3, 28, 28)
        for image, digit in zip(blended.permute(0, 2, 3, 1).numpy(), plain, strict=True):
            places = [
                (number, top, left)
                for number, photo in enumerate(photos)
                for top in range(photo.shape[0] - 27)
                for left in range(photo.shape[1] - 27)
                if (abs(photo[top : top + 28, left : left + 28] - digit[..., None]) == image).all()
            ]
            assert len(places) == 1
            chosen.update(places)
    assert {number for number, _, _ in chosen} == {0, 1}
    assert len(chosen) > 12  # of 2 x 12 places, 60 times drawn


def test_mnistm_is_made_alike_each_time_and_hashed_by_what_it_is(root):
    save_photos(root / "digits/BSR/BSDS500/data/images/train", [(40, 40)])
    first, again = (digits.read_digits("mnistm", str(root)) for _ in range(2))
    assert torch.equal(first.x_train, again.x_train)
    assert first.sha256 == again.sha256
    assert not torch.equal(first.x_train[:20], first.x_test)  # the same digits, other patches
    file = root / "digits/BSR/BSDS500/data/images/train/0.jpg"
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(file)
    assert digits.read_digits("mnistm", str(root)).sha256 != first.sha256


def test_photo_that_is_too_small_is_refused(root):
    save_photos(root / "digits/BSR/BSDS500/data/images/train", [(40, 27)])
    with pytest.raises(ValueError, match=r"0.jpg has 27 x 40 pixels, and a digit has 28 x 28"):
        digits.read_digits("mnistm", str(root))


@pytest.mark.parametrize("name", ["mnistm", "synth"])
def test_colour_digits_are_read_from_an_npz(root, name):
    x = np.arange(4 * 28 * 28 * 3, dtype=np.int64).reshape(4, 28, 28, 3).astype(np.uint8)
    y = np.array([3, 1, 4, 1])
    np.savez(root / "digits" / f"{name}.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    data = make(root, target=name, channels=3)
    batch = everything(data.domain("target").train)
    assert_close((batch.x / 2 + 0.5) * 255, torch.from_numpy(x).permute(0, 3, 1, 2).float(), atol=1e-3, rtol=0)
    assert batch.y.tolist() == y.tolist()
    assert (batch.domain == digits.NAMES.index(name)).all()


def test_synth_is_read_from_the_published_files(root):
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
    for part in ("train", "test"):
        savemat(
            root / "digits" / f"synth_{part}_32x32.mat", {"X": x, "y": np.array([[10], [1], [2], [9], [0]], np.uint8)}
        )
    images = digits.read_digits("synth", str(root))
    assert torch.equal(images.x_train, torch.from_numpy(x).permute(3, 2, 0, 1))
    assert images.y_test.tolist() == [0, 1, 2, 9, 0]  # SVHN's files call the digit 0 ten


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mnistm", ("mnistm.npz", "BSR_bsds500.tgz", "https://www2.eecs", "BSR/BSDS500/data/images lies in")),
        ("synth", ("synth.npz", "synth_train_32x32.mat", "SynthDigits.zip", "http://yaroslav.ganin.net")),
    ],
)
def test_what_must_be_fetched_by_hand_is_said(tmp_path, name, parts):
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path, target=name).domain("target")
    for part in (*parts, f"{tmp_path / 'digits'}", "DA_DATA_ROOT", "data.root"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "usps"}, "data.source and data.target are both 'usps'"),
        ({"source": "emnist"}, "data.source is 'emnist', but the digits are"),
        ({"target": "emnist"}, "data.target is 'emnist', but the digits are"),
        ({"usps_file": "7438"}, "7,291 train and 2,007 test images.*7,438 and 1,860.*execute code"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


REAL = os.environ.get("DA_DATA_ROOT")


@pytest.mark.real
@pytest.mark.skipif(not (REAL and (Path(REAL) / "digits").is_dir()), reason="DA_DATA_ROOT has no digits")
def test_real_files_have_the_published_class_counts():
    data = make(REAL)
    mnist, usps = data.domain("source"), data.domain("target")
    assert mnist.test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert (mnist.train.y.bincount() + mnist.val.y.bincount()).tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    assert usps.train.y.bincount().tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert usps.test.y.bincount().tolist() == [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
    assert usps.train[Draw(torch.arange(4), 0)].x.shape == (4, 1, 28, 28)
