"""Every shipped set of image folders: a fake of it is made from its own yaml, so a new yaml is covered by itself."""

import os
from collections import Counter
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from conftest import CONF, config, options
from omegaconf import OmegaConf
from PIL import Image

from da.build import build
from da.data.rows import Draw
from da.types import HIDDEN

YAMLS = {name: OmegaConf.load(CONF / f"data/{name}.yaml") for name in options("data")}
SHIPPED = [name for name, yaml in YAMLS.items() if yaml.get("defaults") == ["_images"]]
SIZE = 8
STREAMS = frozenset({"source", "target"})
PER_CLASS = 2
REAL = os.environ.get("DA_DATA_ROOT")


def compose(name, root, *overrides):
    """The config of a data set for tiny images, that are stored in their size and left as they are."""
    sizes = "{source: 4, target: 4, labeled: 4, oracle: 4}"
    small = (f"net.input.size={SIZE}", f"data.resize={SIZE}", "data.augment=none", f"data.batch_size={sizes}")
    return config(f"data={name}", "net=torchvision", f"data.root={root}", *small, *overrides)


def colour(c, domain, i):
    """Of the image number i of class c in a domain: no two are alike, and red and green tell the class."""
    return c % 200, c // 200, 20 * domain + i


def fake(data, domains=None):
    """The files of a place by path: images of every class in these domains, and lists as the data set has them."""
    files = {}
    for d, domain in enumerate(domains or (data.source, data.target)):
        folder = data.domains[domain]
        lists = (data.lists or {}).get(domain)
        parts = {"": lists} if isinstance(lists, str) else lists or {"": None}
        for p, (part, text) in enumerate(parts.items()):
            lines = []
            for c, name in enumerate(data.classes):
                for i in range(PER_CLASS * p, PER_CLASS * (p + 1)):
                    path = f"{folder}/{name}/{part}{i}.png"
                    file = BytesIO()
                    Image.new("RGB", (SIZE, SIZE), colour(c, d, i)).save(file, "PNG")
                    files[path] = file.getvalue()
                    lines.append(f"{path} {c}\n")
            if text:
                files[text] = "".join(lines).encode()
    return files


def write(files, where):
    where.parent.mkdir(parents=True, exist_ok=True)
    if where.suffix == ".zip":
        with ZipFile(where, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
    else:
        for path, content in files.items():
            (where / path).parent.mkdir(parents=True, exist_ok=True)
            (where / path).write_bytes(content)


def check_classes_are_those_of_the_images(samples, cfg):
    mean, std = (torch.tensor(list(cfg.net.input[fact])).view(3, 1, 1) for fact in ("mean", "std"))
    levels = ((samples.x * std + mean) * 255).round().long()
    assert (levels == levels[:, :, :1, :1]).all()
    red, green, _ = levels[:, :, 0, 0].T
    assert torch.equal(red + 200 * green, samples.y)


PLACES = [(name, place) for name in SHIPPED for place in YAMLS[name].places]


def test_all_that_were_promised_are_there():
    promised = {"office31", "office_caltech10", "officehome", "visda2017", "domainnet", "pacs", "vlcs", "imageclef"}
    assert promised <= set(SHIPPED)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_fake_is_read_and_its_labels_are_those_of_the_images(name, place, tmp_path):
    cfg = compose(name, tmp_path, "data.sha256=null")
    write(fake(cfg.data), tmp_path / place)
    data = build(cfg.data, "data")
    data.load(STREAMS)
    assert data.num_classes == cfg.data.num_classes == len(cfg.data.classes)
    assert data.class_names == tuple(cfg.data.classes)
    assert data.names() == {"source": cfg.data.source, "target": cfg.data.target}
    for role, number in (("source", 0), ("target", 1)):
        rows = data.eval_set(role, "test")
        samples = rows[Draw(torch.arange(len(rows)), 0)]
        assert samples.x.shape == (PER_CLASS * data.num_classes, 3, SIZE, SIZE)
        assert samples.y.bincount().tolist() == [PER_CLASS] * data.num_classes
        assert (samples.domain == number).all()
        check_classes_are_those_of_the_images(samples, cfg)
    batch, *_ = next(iter(data.train_dataloader()))
    assert batch["source"].x.shape == batch["target"].x.shape == (4, 3, SIZE, SIZE)
    check_classes_are_those_of_the_images(batch["source"], cfg)
    assert (batch["target"].y == HIDDEN).all()
    assert not any("leak" in notice for notice in data.notices if not cfg.data.lists)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_domain_can_be_a_source_or_the_target(name, tmp_path):
    *sources, target = compose(name, tmp_path).data.domains
    source = f"data.source=[{','.join(sources)}]"
    cfg = compose(name, tmp_path, source, f"data.target={target}", "data.sha256=null")
    place = next(place for place in cfg.data.places if not place.endswith(".zip"))
    write(fake(cfg.data, (*sources, target)), tmp_path / place)
    data = build(cfg.data, "data")
    data.load(STREAMS)
    rows = data.train_set("source")
    assert rows.domains.unique().tolist() == list(range(len(sources)))
    check_classes_are_those_of_the_images(rows[Draw(torch.arange(0, len(rows), 7), 0)], cfg)
    assert data.names() == {"source": "+".join(sources), "target": target}


def test_published_lists_say_which_images_are_tested_on(tmp_path):
    cfg = compose("domainnet", tmp_path)
    write(fake(cfg.data), tmp_path / "images/domainnet")
    target = build(cfg.data, "data").domain("target")
    parts = {"train": target.train, "test": target.test}
    blue = {part: rows[Draw(torch.arange(len(rows)), 0)].x[:, 2, 0, 0].unique() for part, rows in parts.items()}
    assert len(blue["train"]) == len(blue["test"]) == PER_CLASS
    assert not set(blue["train"].tolist()) & set(blue["test"].tolist())


@pytest.mark.parametrize("name", SHIPPED)
def test_missing_files_say_what_to_fetch_and_where_to_put_it(name, tmp_path):
    cfg = compose(name, tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        build(cfg.data, "data").domain("source")
    for part in (cfg.data.fetch, *(str(tmp_path / place) for place in cfg.data.places), "DA_DATA_ROOT", "data.root"):
        assert part in str(error.value)
    assert "http" in cfg.data.fetch
    assert any(place.removesuffix(".zip") in cfg.data.fetch for place in cfg.data.places)


@pytest.mark.parametrize("name", [name for name in SHIPPED if YAMLS[name].get("sha256")])
def test_another_archive_of_the_same_name_is_refused(name, tmp_path):
    cfg = compose(name, tmp_path)
    [(place, expected)] = cfg.data.sha256.items()
    assert place in cfg.data.places
    write(fake(cfg.data), tmp_path / place)
    with pytest.raises(ValueError, match=f"{Path(place).name} is not the file it should be.* expected {expected}"):
        build(cfg.data, "data").domain("source")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_yaml_tells_origin_terms_protocol_and_domains(name):
    cfg = compose(name, "nowhere")
    about = [line for line in (CONF / f"data/{name}.yaml").read_text().splitlines() if line.startswith("#")]
    text = " ".join(line.lstrip("# ") for line in about)
    assert " 20" in text
    assert "research" in text
    assert "ransductive" in text or "test list" in text
    assert all(domain in text for domain in cfg.data.domains)
    assert {cfg.data.source, cfg.data.target} <= cfg.data.domains.keys()
    assert all(isinstance(label, str) for label in cfg.data.classes)


@pytest.mark.real
@pytest.mark.skipif(not (REAL and (Path(REAL) / "images").is_dir()), reason="DA_DATA_ROOT has no images")
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("office_caltech10", {"amazon": 958, "caltech10": 1123, "dslr": 157, "webcam": 295}),
        ("pacs", {"photo": 1670, "art_painting": 2048, "cartoon": 2344}),
    ],
)
def test_real_sets_have_the_published_numbers_of_images(name, counts):
    cfg = compose(name, REAL)
    data = build(cfg.data, "data")
    for domain, count in counts.items():
        found = Counter(item.label for item in data.layout(domain).items)
        assert found.total() == count
        assert found.keys() == set(cfg.data.classes)


@pytest.mark.real
@pytest.mark.skipif(not (REAL and (Path(REAL) / "images").is_dir()), reason="DA_DATA_ROOT has no images")
def test_real_images_are_read_in_colour_and_no_two_domains_share_one():
    cfg = compose("office_caltech10", REAL, "data.source=webcam", "data.target=dslr")
    data = build(cfg.data, "data")
    data.load(STREAMS)
    assert [len(data.domain(role).train) for role in ("source", "target")] == [295, 157]
    assert not any("leak" in notice for notice in data.notices)
    x = data.eval_set("target", "test")[Draw(torch.arange(157), 0)].x
    assert np.ptp(x.mean(dim=(0, 2, 3)).numpy()) > 0.01
    assert x.std(dim=0).min() > 0.1
