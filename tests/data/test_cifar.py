import hashlib
import os
import pickle
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from conftest import config, everything
from PIL import Image
from torch.testing import assert_close
from torchvision import datasets

from da.build import build
from da.data import cifar, corruptions, download
from da.data.cifar import Cifar
from da.data.corruptions import corrupt
from da.data.images import ToNetwork, resize
from da.data.rows import Draw
from da.types import HIDDEN

TEN = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NINE = [name for name in TEN if name != "frog"]
HUNDRED = [f"thing_{i:02}" for i in range(100)]
INPUT = {"channels": 3, "size": 32}
SETTINGS = {"batch_size": {"source": 4, "target": 4}, "val_fraction": 0.0, "augment": "none", "input": INPUT}
STREAMS = frozenset({"source", "target"})


def make(root, source="cifar10", target="stl10", **settings):
    return Cifar(source=source, target=target, root=root and str(root), **SETTINGS | settings)


def levels(x):
    """The bytes that became x."""
    return ((x / 2 + 0.5) * 255).round().to(torch.uint8)


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def photos():
    """Random images uint8 [n, 3, side, side] by data set and part."""
    generator = np.random.default_rng(0)
    sizes = {"cifar10": (30, 20, 32), "cifar100": (200, 100, 32), "stl10": (20, 10, 96)}
    return {
        name: [generator.integers(0, 256, (n, 3, side, side), dtype=np.uint8) for n in (train, test)]
        for name, (train, test, side) in sizes.items()
    }


@pytest.fixture
def root(tmp_path, monkeypatch, photos):
    """The files of torchvision, with few images: CIFAR's as pickles, STL-10's column by column."""
    folder = tmp_path / "data" / "torchvision"

    def save(kind, file, content):
        path = folder / kind.base_folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return [file, md5(content)]

    def cifar_parts(kind, name, files, key):
        found = []
        for file, x in zip(files, photos[name], strict=True):
            labels = [i % (10 if name == "cifar10" else 100) for i in range(len(x))]
            found.append(save(kind, file, pickle.dumps({"data": x.reshape(len(x), -1), key: labels})))
        return found

    for kind, name, files, key, meta, names in (
        (datasets.CIFAR10, "cifar10", ("data_batch_1", "test_batch"), "labels", "label_names", TEN),
        (datasets.CIFAR100, "cifar100", ("train", "test"), "fine_labels", "fine_label_names", HUNDRED),
    ):
        train, test = cifar_parts(kind, name, files, key)
        monkeypatch.setattr(kind, "train_list", [train])
        monkeypatch.setattr(kind, "test_list", [test])
        file, digest = save(kind, "meta", pickle.dumps({meta: names}))
        monkeypatch.setattr(kind, "meta", {"filename": file, "key": meta, "md5": digest})
    for part, x in zip(("train", "test"), photos["stl10"], strict=True):
        y = (np.arange(len(x)) % 10 + 1).astype(np.uint8)
        columns = np.ascontiguousarray(x.transpose(0, 1, 3, 2))
        lists = [
            save(datasets.STL10, f"{part}_{kind}.bin", array.tobytes()) for kind, array in (("X", columns), ("y", y))
        ]
        monkeypatch.setattr(datasets.STL10, f"{part}_list", lists)
    return tmp_path / "data"


def test_cifar_has_its_two_parts(root, photos):
    data = make(root, target="gaussian_noise_1")
    source = data.domain("source")
    for rows, x in zip((source.train, source.test), photos["cifar10"], strict=True):
        batch = everything(rows)
        assert torch.equal(levels(batch.x), torch.from_numpy(x))
        assert batch.y.tolist() == [i % 10 for i in range(len(x))]
    assert data.class_names == tuple(TEN)


def test_cifar_and_stl_share_nine_classes(root, photos):
    data = make(root, classes=NINE, num_classes=9)
    data.load(STREAMS)
    source, target = data.domain("source"), data.domain("target")
    assert [len(rows) for rows in (source.train, source.test, target.train, target.test)] == [27, 18, 18, 9]
    stl = ["airplane", "bird", "automobile", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
    kept = [i for i in range(20) if stl[i % 10] != "monkey"]
    assert target.train.y.tolist() == [NINE.index(stl[i % 10]) for i in kept]
    small = resize(torch.from_numpy(photos["stl10"][0]), 32)
    assert torch.equal(levels(everything(target.train).x), small[kept])
    assert "cifar10: 5 rows of classes that data.classes lacks are left out: frog" in data.notices
    assert "stl10: 3 rows of classes that data.classes lacks are left out: monkey" in data.notices
    assert (data.train_set("target").y == HIDDEN).all()


def test_without_their_names_the_classes_that_only_one_side_has_are_an_error(root):
    with pytest.raises(ValueError, match=r"only the target has the classes monkey; .* data.label_sets=open"):
        make(root).load(STREAMS)


def test_a_class_that_a_domain_lacks_is_an_error(root):
    with pytest.raises(ValueError, match=r"data.classes names car, but cifar10 has airplane, automobile"):
        make(root, classes=["airplane", "car"]).load(STREAMS)


def test_cifar100_is_adapted_to_but_not_scored(root):
    data = make(root, target="cifar100", classes=TEN, label_sets="open_partial")
    data.load(STREAMS)
    target = data.domain("target")
    assert [len(target.train), len(target.test)] == [200, 100]
    assert (target.test.y == HIDDEN).all()
    assert any("300 rows of classes that only it has are not scored" in notice for notice in data.notices)
    assert everything(data.train_set("target")).x.shape == (200, 3, 32, 32)


def test_a_corruption_is_of_the_test_part_and_all_of_it_is_adapted_to_and_scored(root, photos):
    data = make(root, target="fog_3")
    data.load(STREAMS)
    target = data.domain("target")
    expected = corrupt(torch.from_numpy(photos["cifar10"][1]), "fog", 3)
    for rows in (target.train, target.val, target.test):
        assert torch.equal(levels(everything(rows).x), expected)
        assert rows.y.tolist() == [i % 10 for i in range(20)]
    assert data.names() == {"source": "cifar10", "target": "fog_3"}
    assert not any("leak" in notice for notice in data.notices)


def test_a_corruption_is_made_once(root, monkeypatch):
    first = everything(make(root, target="snow_2").domain("target").test).x
    monkeypatch.setattr(cifar, "corrupt", None)
    assert torch.equal(everything(make(root, target="snow_2").domain("target").test).x, first)
    monkeypatch.setattr(cifar, "VERSION", corruptions.VERSION + 1)
    with pytest.raises(TypeError):
        make(root, target="snow_2").domain("target")


def test_only_training_rows_are_augmented_by_a_shift_of_up_to_four_pixels_and_a_flip(root, photos):
    data = make(root, target="fog_1", augment="pad_crop_flip")
    source = data.domain("source")
    x = torch.from_numpy(photos["cifar10"][0])
    framed = torch.nn.functional.pad(x, (4, 4, 4, 4))
    places = set()
    for image, wide in zip(levels(everything(source.train).x), framed, strict=True):
        fits = [
            (top, left, flipped)
            for top in range(9)
            for left in range(9)
            for flipped in (False, True)
            if torch.equal(image.flip(-1) if flipped else image, wide[:, top : top + 32, left : left + 32])
        ]
        assert len(fits) == 1
        places.update(fits)
    assert len(places) > 20
    assert {flipped for _, _, flipped in places} == {False, True}
    assert torch.equal(levels(everything(source.test).x), torch.from_numpy(photos["cifar10"][1]))


def test_the_network_gets_its_size_channels_mean_and_std(root, photos):
    facts = {"channels": 3, "size": 28, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    batch = everything(make(root, target="fog_1", input=facts).domain("source").test)
    expected = ToNetwork(3, 28, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))(torch.from_numpy(photos["cifar10"][1]), None)
    assert_close(batch.x, expected)


def test_new_images_are_read_as_the_target_is(root, tmp_path, photos):
    (tmp_path / "new").mkdir()
    Image.fromarray(photos["cifar10"][0][3].transpose(1, 2, 0)).save(tmp_path / "new" / "one.png")
    rows, names = make(root).inputs(str(tmp_path / "new"))
    assert names == ["one.png"]
    assert torch.equal(levels(everything(rows).x)[0], torch.from_numpy(photos["cifar10"][0][3]))


@pytest.fixture
def subset(tmp_path, monkeypatch):
    """An archive of two grey JPEG images a class and part, whose levels tell them apart."""
    file = tmp_path / "data" / cifar.SUBSET
    file.parent.mkdir(parents=True)
    with ZipFile(file, "w") as archive:
        for i, part in enumerate(("train", "test")):
            for c, name in enumerate(TEN):
                for k in range(2):
                    content = BytesIO()
                    Image.new("RGB", (32, 32), (100 * i + 10 * c + k,) * 3).save(content, "JPEG", quality=100)
                    archive.writestr(f"{part}/{name}/{k:04}.jpg", content.getvalue())
    monkeypatch.setattr(cifar, "SUBSET_SHA256", download.sha256(file))
    return tmp_path / "data"


def test_the_subset_is_read_from_its_archive_and_called_so(subset):
    data = make(subset, target="contrast_5", cifar10="subset")
    data.load(STREAMS)
    source, target = data.domain("source"), data.domain("target")
    for i, rows in enumerate((source.train, source.test)):
        batch = everything(rows)
        assert batch.y.tolist() == [c for c in range(10) for _ in range(2)]
        assert levels(batch.x)[:, 0, 16, 16].tolist() == [100 * i + 10 * c + k for c in range(10) for k in range(2)]
    assert torch.equal(everything(target.test).x, everything(source.test).x)  # grey has no contrast to lose
    assert data.names() == {"source": "cifar10_subset", "target": "contrast_5"}


def test_changed_subset_is_refused(subset, monkeypatch):
    monkeypatch.setattr(cifar, "SUBSET_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"cifar10_jpg_subset.zip is not the file .* expected 0000"):
        make(subset, cifar10="subset").domain("source")


def test_changed_files_of_torchvision_are_not_read(root):
    for kind, file, source in ((datasets.STL10, "test_X.bin", "stl10"), (datasets.CIFAR10, "test_batch", "cifar10")):
        path = root / "torchvision" / kind.base_folder / file
        content = bytearray(path.read_bytes())
        content[-40] ^= 1
        path.write_bytes(content)
        with pytest.raises((ValueError, FileNotFoundError), match=r"is not the file it should be|corrupted|no network"):
            make(root, source=source, target="cifar100").domain("source")


@pytest.mark.parametrize(
    ("name", "settings", "parts"),
    [
        ("cifar10", {}, ("torchvision", "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "no network")),
        ("cifar100", {}, ("torchvision", "cifar-100-python.tar.gz")),
        ("stl10", {}, ("torchvision", "http://ai.stanford.edu/~acoates/stl10")),
        ("cifar10", {"cifar10": "subset"}, ("images/cifar10_jpg_subset.zip", "YoongiKim", "data.cifar10=full")),
        ("fog_1", {"cifar10": "subset"}, ("images/cifar10_jpg_subset.zip", "YoongiKim")),
    ],
)
def test_missing_files_say_where_they_were_looked_for_and_what_to_do(tmp_path, name, settings, parts):
    other = "stl10" if name != "stl10" else "cifar10"
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path, source=name, target=other, **settings).domain("source")
    for part in (*parts, str(tmp_path), "DA_DATA_ROOT", "data.root"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "svhn"}, r"no domain 'svhn': .* cifar10, cifar100, stl10, or a corruption .* gaussian_noise, shot"),
        ({"target": "fog_6"}, "the severity of a corruption is 1 to 5, not 6"),
        ({"target": "rain_1"}, "there is no corruption 'rain'"),
        ({"target": "frost_1"}, "frost is not among them"),
        ({"cifar10": "half"}, "data.cifar10='half', but it is 'full' or 'subset'"),
        ({"augment": "flip"}, "data.augment='flip', but it is 'pad_crop_flip' or 'none'"),
        ({"input": {"features": 2}}, r"the network reads net.input=\{'features': 2\}"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(None, **settings)


@pytest.mark.parametrize("name", ["cifar_stl", "cifar10_cifar100", "cifar10_c"])
def test_the_config_builds_and_its_batches_go_through_the_network(root, name):
    sizes = "{source: 4, target: 4}"
    cfg = config(f"data={name}", "net=cifar_resnet20", f"data.root={root}", f"data.batch_size={sizes}")
    data, net = build(cfg.data, "data"), build(cfg.net, "net").eval()
    data.load(STREAMS)
    for role in ("source", "target"):
        x = everything(data.eval_set(role, "test")).x
        assert net(x[:4])[1].shape == (4, data.num_classes)
    batch = next(iter(data.train_dataloader()))[0]
    assert batch["source"].x.shape == batch["target"].x.shape == (4, 3, 32, 32)


REAL = os.environ.get("DA_DATA_ROOT")
WEIGHTS = "weights/cifar_resnet20_cifar10.safetensors"


@pytest.mark.real
@pytest.mark.skipif(not (REAL and (Path(REAL) / cifar.SUBSET).is_file()), reason="DA_DATA_ROOT has no CIFAR-10")
def test_real_subset_has_its_counts_and_the_accuracy_that_is_known_of_it():
    """The ResNet-20 of the data's README has 81.0 % on all of the test images: here on a tenth of them."""
    from safetensors.torch import load_file

    from da.models.cifar_resnet import CifarResnet

    facts = {"channels": 3, "size": 32, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    data = make(REAL, target="gaussian_noise_5", cifar10="subset", input=facts)
    source, target = data.domain("source"), data.domain("target")
    assert source.train.y.bincount().tolist() == [1500] * 10
    assert source.test.y.bincount().tolist() == target.test.y.bincount().tolist() == [1000] * 10
    net = CifarResnet(weights=str(Path(REAL) / WEIGHTS)).eval()
    linear = {key: value for key, value in load_file(Path(REAL) / WEIGHTS).items() if key.startswith("linear.")}
    accuracy = {}
    for domain in (source, target):
        batch = domain.test[Draw(torch.arange(0, 10_000, 10), 0)]
        with torch.no_grad():
            z = torch.cat([net(part) for part in batch.x.split(250)])
        logits = z @ linear["linear.weight"].T + linear["linear.bias"]
        accuracy[domain.name] = (logits.argmax(dim=1) == batch.y).double().mean().item()
    assert accuracy["cifar10_subset"] == pytest.approx(0.81, abs=3 * (0.81 * 0.19 / 1000) ** 0.5)
    assert accuracy["gaussian_noise_5"] < accuracy["cifar10_subset"] - 0.1
