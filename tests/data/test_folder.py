import hashlib
import os
import shutil
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from conftest import config, everything
from photos import write_domain, write_photo

from da.build import build
from da.data.files import Files
from da.data.folder import Folder
from da.data.readers import images
from da.data.rows import Draw
from da.types import HIDDEN

INPUT = {"channels": 3, "size": 14}
COUNTS = {"cat": 12, "dog": 8, "mug": 6}
BATCH_SIZE = {"source": 4, "target": 4}
STREAMS = frozenset({"source", "target"})


@pytest.fixture
def root(tmp_path):
    write_domain(tmp_path / "data/shop", COUNTS, seed=1)
    write_domain(tmp_path / "data/street", {"cat": 7, "dog": 5, "mug": 4}, seed=2, suffix=".png")
    return tmp_path / "data"


def make(root, source="shop", target="street", **settings):
    return Folder(source, target, **{"input": INPUT, "root": root and str(root), "batch_size": BATCH_SIZE} | settings)


def test_the_class_is_the_folder(root):
    data = make(root, val_fraction=0.0)
    data.load(STREAMS)
    assert data.class_names == ("cat", "dog", "mug")
    assert data.num_classes == 3
    assert data.domain("source").train.y.bincount().tolist() == [12, 8, 6]
    test = data.eval_set("target", "test")
    assert test.y.bincount().tolist() == [7, 5, 4]
    assert (data.train_set("target").y == HIDDEN).all()
    assert everything(test).x.shape == (16, 3, 14, 14)
    assert (everything(test).domain == 1).all()
    assert data.names() == {"source": "shop", "target": "street"}


def test_rows_are_the_files_in_order(root):
    data = make(root, target="street")
    records = data.records("street")
    assert records.keys[:2] == ["cat/000.png", "cat/001.png"]
    assert records.keys == sorted(records.keys)
    content = (root / "street" / records.keys[9]).read_bytes()
    assert int(records.content[9]) == int(hashlib.sha256(content).hexdigest()[:16], 16)
    alone = data.reader.read(Files(root / "street"), [records.keys[9]]).x[0]
    assert torch.equal(records.x[9], alone)


def test_classes_are_known_before_an_image_is_decoded(root, monkeypatch):
    monkeypatch.setattr(images, "decode", lambda *_: pytest.fail("an image was decoded"))
    assert make(root).class_names == ("cat", "dog", "mug")


def test_paths_may_be_given_as_they_are_or_below_the_root(root, monkeypatch):
    assert make(None, str(root / "shop"), str(root / "street")).class_names
    monkeypatch.chdir(root)
    assert make(None).class_names
    monkeypatch.chdir(root.parent)
    with pytest.raises(
        FileNotFoundError, match=r"no folder or archive shop\. Set the environment variable DA_DATA_ROOT"
    ):
        make(None).class_names  # noqa: B018
    monkeypatch.setenv("DA_DATA_ROOT", str(root))
    assert make(None).class_names
    with pytest.raises(FileNotFoundError, match="shop2 or .*data/shop2"):
        make(root, source="shop2").class_names  # noqa: B018


def zipped(folder, path):
    with ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_an_archive_is_as_good_as_a_folder(root):
    zipped(root / "shop", root / "shop.zip")
    from_folder, from_archive = make(root), make(root, source="shop.zip")
    a, b = from_folder.records("shop"), from_archive.records("shop.zip")
    assert torch.equal(a.x, b.x)
    assert (a.labels, a.keys, a.sha256) == (b.labels, b.keys, b.sha256)
    assert from_archive.names()["source"] == "shop"


def test_a_flat_target_has_no_labels(root):
    write_domain(root / "flat", {"": 9}, seed=3)
    data = make(root, target="flat")
    data.load(STREAMS)
    assert data.labels("flat") is None
    assert (data.eval_set("target", "test").y == HIDDEN).all()
    assert len(data.train_set("target")) == 9


def test_a_flat_source_is_an_error(root):
    write_domain(root / "flat", {"": 9}, seed=3)
    with pytest.raises(ValueError, match="the source 'flat' has no labels"):
        make(root, source="flat").load(STREAMS)


def test_several_sources_make_one_stream(root):
    write_domain(root / "web", {"cat": 5, "dog": 5, "mug": 5}, seed=4)
    data = make(root, source=["shop", "web"])
    data.load(STREAMS)
    assert set(data.domain("source").train.domains.tolist()) == {0, 1}
    assert data.names()["source"] == "shop+web"


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    for domain in ("amazon", "webcam"):
        write_domain(tmp_path / domain / "images", {"cat": 6, "dog": 6}, seed=len(domain) + ord(domain[0]))
    data = make(tmp_path, source="amazon/images", target="webcam/images")
    assert data.names() == {"source": "amazon/images", "target": "webcam/images"}


def test_parts_are_told_by_folders(tmp_path):
    for domain, seed in (("a", 1), ("b", 2)):
        for part, n in (("train", 5), ("valid", 2), ("test", 3)):
            write_domain(tmp_path / domain / part, {"cat": n, "dog": n}, seed=10 * seed + n)
    data = make(tmp_path, source="a", target="b")
    source, target = data.domain("source"), data.domain("target")
    assert data.class_names == ("cat", "dog")
    assert [len(rows) for rows in (source.train, source.val, source.test)] == [10, 4, 6]
    assert [len(rows) for rows in (target.train, target.test)] == [14, 6]


def test_a_class_may_be_called_train_among_others(root):
    for domain, seed in (("shop", 5), ("street", 6)):
        write_domain(root / domain, {"train": 5}, seed=seed)
    assert make(root).class_names == ("cat", "dog", "mug", "train")


def test_one_sample_of_a_class_is_trained_on_and_told_of(root):
    write_photo(root / "shop/zebra/only.jpg", 77)
    write_photo(root / "street/zebra/only.png", 78)
    data = make(root, val_fraction=0.5)
    assert (data.domain("source").train.y == 3).sum() == 1
    assert any("class 'zebra' has one row only" in notice for notice in data.notices)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def test_bad_files_are_an_error_that_names_them(root):
    for i in range(7):
        truncate(root / f"shop/cat/{i:03}.jpg")
    message = (
        r"7 of 26 files of 'shop' can't be read: cat/000.jpg \(truncated\), .*cat/004.jpg \(truncated\) and 2 more.*"
    )
    with pytest.raises(ValueError, match=message + "data.on_bad=skip"):
        make(root).domain("source")


def test_bad_files_are_left_out_if_asked_and_counted(root):
    truncate(root / "shop/cat/003.jpg")
    truncate(root / "shop/mug/005.jpg")
    data = make(root, on_bad="skip", val_fraction=0.0)
    assert data.domain("source").train.y.bincount().tolist() == [11, 8, 5]
    assert "shop: 2 of 26 files left out: cat/003.jpg (truncated), mug/005.jpg (truncated)" in data.notices
    assert "cat/003.jpg" not in data.records("shop").keys


def test_a_class_of_which_no_file_can_be_read_is_an_error(root):
    for i in range(6):
        truncate(root / f"shop/mug/{i:03}.jpg")
    with pytest.raises(ValueError, match="no file of 'shop' can be read that is of the class mug"):
        make(root, on_bad="skip").domain("source")


@pytest.mark.parametrize("domain", ["shop", "street"])
def test_an_empty_class_folder_is_an_error_that_names_it(root, domain):
    (root / domain / "lamp").mkdir()
    (root / domain / "lamp/notes.txt").write_text("no image")
    with pytest.raises(
        ValueError, match=f"of the class folders of '{domain}' these have no file to read .*: lamp. Fill"
    ):
        make(root).load(STREAMS)


def test_files_of_other_kinds_are_counted(root):
    for name in ("a.txt", "b.txt", "cat/Thumbs.db"):
        (root / "shop" / name).write_text("no image")
    data = make(root)
    data.load(STREAMS)
    assert "shop: files of other kinds left out: 2 .txt, 1 .db" in data.notices


def test_a_folder_without_images_is_an_error(root):
    (root / "empty").mkdir()
    (root / "empty/list.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"'empty' has no file to read \(.jpg, .*\) in .*empty: 1 .txt"):
        make(root, target="empty").load(STREAMS)


def test_classes_that_do_not_match_are_an_error_that_names_them(root):
    (root / "street/mug").rename(root / "street/cup")
    with pytest.raises(ValueError, match=r"only the target has the classes cup; .* data.label_sets=open"):
        make(root).load(STREAMS)
    shutil.rmtree(root / "street/cup")
    with pytest.raises(ValueError, match=r"only the source has the classes mug; .* data.label_sets=partial"):
        make(root).load(STREAMS)
    data = make(root, label_sets="partial")
    data.load(STREAMS)
    assert data.num_classes == 3


def test_a_target_that_is_the_source_is_an_error(root):
    shutil.copytree(root / "shop", root / "copy")
    with pytest.raises(ValueError, match="every row of the target 'copy' is a training row of the source 'shop'"):
        make(root, target="copy", val_fraction=0.0).load(STREAMS)


def test_files_that_both_domains_have_are_reported_as_a_leak(root):
    shutil.copy(root / "shop/cat/001.jpg", root / "street/cat/other.jpg")
    data = make(root, val_fraction=0.0)
    data.load(STREAMS)
    assert "leak: 1 of the 17 rows that the target street is scored on are training rows of the source shop too" in (
        data.notices
    )


@pytest.mark.parametrize("augment", ["crop_flip", "none"])
def test_batches_do_not_depend_on_the_number_of_workers(root, augment):
    batches = []
    for workers in (0, 2):
        data = make(root, num_workers=workers, augment=augment, seed=3)
        data.load(STREAMS)
        batches.append([batch for batch, *_ in data.train_dataloader()])
    assert len(batches[0]) > 4
    for alone, shared in zip(*batches, strict=True):
        for stream in STREAMS:
            assert all(torch.equal(a, b) for a, b in zip(alone[stream], shared[stream], strict=True))


def test_training_is_augmented_and_scoring_is_not(root):
    data = make(root, val_fraction=0.0)
    source, rows = data.domain("source"), torch.arange(10)
    one, other = (source.train[Draw(rows, seed)].x for seed in (1, 2))
    assert not torch.equal(one, other)
    one, other = (source.val[Draw(rows, seed)].x for seed in (1, 2))
    assert torch.equal(one, other)
    assert torch.equal(one, data.eval_transform(data.records("shop").x[:10], None))


@pytest.mark.parametrize("where", ["new", "new.zip", "new/cat/000.png"])
def test_new_files_are_read_as_the_target_is_scored(root, where):
    write_domain(root / "new", {"": 2, "cat": 2}, seed=8, suffix=".png")
    zipped(root / "new", root / "new.zip")
    data = make(root)
    data.restore({"classes": ["cat", "dog", "mug"]})
    rows, keys = data.inputs(str(root / where))
    assert keys == (["000.png"] if where.endswith(".png") else ["000.png", "001.png", "cat/000.png", "cat/001.png"])
    assert (rows.y == HIDDEN).all()
    x = everything(rows).x
    files = Files(root / "new")
    expected = data.eval_transform(data.reader.read(files, ["cat/000.png"]).x, None)
    assert torch.equal(x[-2 if len(x) > 1 else 0], expected[0])


def test_new_files_that_are_bad_are_named(root):
    write_domain(root / "new", {"": 3}, seed=8)
    truncate(root / "new/001.jpg")
    (root / "new/notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"1 of 3 files .*001.jpg \(truncated\)"):
        make(root).inputs(str(root / "new"))
    data = make(root, on_bad="skip")
    _, keys = data.inputs(str(root / "new"))
    assert keys == ["000.jpg", "002.jpg"]
    assert [notice.partition(": ")[2] for notice in data.notices] == [
        "files of other kinds left out: 1 .txt",
        "1 of 3 files left out: 001.jpg (truncated)",
    ]
    (root / "nothing").mkdir()
    with pytest.raises(ValueError, match="nothing' has no file that can be read"):
        data.inputs(str(root / "nothing"))


def test_the_hash_tells_content_names_and_the_networks_input(root):
    before = make(root).records("shop").sha256
    assert make(root, augment="none").records("shop").sha256 == before
    assert make(root, resize=20).records("shop").sha256 != before
    assert make(root, input=INPUT | {"size": 16}).records("shop").sha256 != before
    write_photo(root / "shop/cat/000.jpg", 999)
    assert make(root).records("shop").sha256 != before


SHIPPED = {
    "places": ["images/office.zip", "office"],
    "domains": {"amazon": "amazon/images", "webcam": "webcam/images"},
    "fetch": "Fetch office.zip from its owners and put it at images/office.zip below the root.",
}


@pytest.fixture
def office(tmp_path):
    for domain, seed in (("amazon", 1), ("webcam", 2)):
        write_domain(tmp_path / "unpacked" / domain / "images", {"cat": 6, "dog": 6}, seed=seed)
    return tmp_path


def shipped(office, place, **settings):
    if place == "office":
        (office / "unpacked").rename(office / "office")
    elif place == "images/office.zip":
        (office / "images").mkdir()
        zipped(office / "unpacked", office / place)
    else:
        (office / "office").mkdir()
        for domain in ("amazon", "webcam"):
            zipped(office / "unpacked" / domain / "images", office / f"office/{domain}.zip")
        settings["domains"] = {"amazon": "amazon", "webcam": "webcam"}
    return make(office, "amazon", "webcam", **SHIPPED | settings)


@pytest.mark.parametrize("place", ["office", "images/office.zip", "an archive a domain"])
def test_a_shipped_data_set_is_found_at_any_of_its_places(office, place):
    data = shipped(office, place)
    data.load(STREAMS)
    assert data.class_names == ("cat", "dog")
    assert data.records("amazon").keys[0] == "cat/000.jpg"
    assert len(data.records("webcam").keys) == 12
    assert data.names() == {"source": "amazon", "target": "webcam"}
    assert data.records("amazon").sha256 != data.records("webcam").sha256


def test_a_domain_that_the_first_place_lacks_is_read_from_the_next(office):
    (office / "images").mkdir()
    with ZipFile(office / "images/office.zip", "w") as archive:
        archive.writestr("amazon/images/cat/1.jpg", b"")
    data = shipped(office, "office")
    assert len(data.records("webcam").keys) == 12


def test_a_missing_data_set_says_what_to_fetch(office):
    data = make(office, "amazon", "webcam", **SHIPPED)
    message = r"no files of 'amazon': no .*images/office.zip.* and no .*office. Fetch office.zip from its"
    with pytest.raises(FileNotFoundError, match=message + ".* Set the environment variable DA_DATA_ROOT"):
        data.load(STREAMS)
    with pytest.raises(FileNotFoundError, match="no folder of data is named. Fetch office.zip"):
        make(None, "amazon", "webcam", **SHIPPED).load(STREAMS)


def test_an_unknown_domain_is_refused_before_anything_is_opened():
    with pytest.raises(ValueError, match="no domain dslr: data.source and data.target are of amazon, webcam"):
        make("nowhere", "amazon", "dslr", **SHIPPED)


def test_an_archive_is_checked_before_it_is_read(office):
    data = shipped(office, "images/office.zip")
    archive = office / "images/office.zip"
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    make(office, "amazon", "webcam", **SHIPPED, sha256={"images/office.zip": right}).load(STREAMS)
    wrong = make(office, "amazon", "webcam", **SHIPPED, sha256={"images/office.zip": "0" * 64})
    with pytest.raises(
        ValueError, match=f"office.zip is not the file it should be: its sha256 is {right}, expected 000"
    ):
        wrong.class_names  # noqa: B018
    data.load(STREAMS)


def listed(office, place, **settings):
    """Lists of the place's files; the test list of webcam holds the last file of each class."""
    for domain in ("amazon", "webcam"):
        lines = [f"{domain}/images/{c}/{i:03}.jpg {k}" for k, c in enumerate(("cat", "dog")) for i in range(6)]
        (office / f"unpacked/{domain}.txt").write_text("\n".join(lines) + "\n")
    train = [line for line in lines if "005" not in line]
    (office / "unpacked/webcam_train.txt").write_text("\n".join(train))
    (office / "unpacked/webcam_test.txt").write_text("./images/cat/005.jpg 0\n\nwebcam/images/dog/005.jpg 1\n")
    lists = {"amazon": "amazon.txt", "webcam": {"train": "webcam_train.txt", "test": "webcam_test.txt"}}
    domains = {"amazon": "amazon", "webcam": "webcam"}
    return shipped(office, place, **{"lists": lists, "domains": domains} | settings)


@pytest.mark.parametrize("place", ["office", "images/office.zip"])
def test_lists_say_class_and_part(office, place):
    data = listed(office, place, classes=["tomcat", "hound"], val_fraction=0.0)
    data.load(STREAMS)
    assert data.class_names == ("tomcat", "hound")
    assert data.domain("source").train.y.bincount().tolist() == [6, 6]
    target = data.domain("target")
    assert (len(target.train), len(target.test)) == (10, 2)
    assert [data.records("webcam").keys[i] for i in (-2, -1)] == ["images/cat/005.jpg", "images/dog/005.jpg"]
    assert target.test.y.tolist() == [0, 1]


def test_classes_of_lists_are_numbers_unless_named(office):
    assert listed(office, "office").class_names == ("0", "1")


def test_what_a_list_names_but_nobody_has_is_a_bad_file(office):
    data = listed(office, "office", classes=["cat", "dog"])
    (office / "office/webcam/images/cat/002.jpg").unlink()
    with pytest.raises(
        ValueError, match=r"1 of 12 files of 'webcam' can't be read: images/cat/002.jpg \(.*No such file"
    ):
        data.load(STREAMS)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("a.jpg", ValueError, "line 1 of amazon.txt is 'a.jpg', expected a path and a class number"),
        ("a.jpg 0\nb.jpg cat", ValueError, "line 2 of amazon.txt is 'b.jpg cat'"),
        ("a.jpg 2", ValueError, "line 1 of amazon.txt has class 2, but there are 2 classes"),
        (None, FileNotFoundError, "amazon.txt"),
    ],
)
def test_wrong_lists_are_refused(office, text, error, message):
    data = listed(office, "office", classes=["cat", "dog"])
    path = office / "office/amazon.txt"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(error, match=message):
        data.labels("amazon")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_bad": "ignore"}, "data.on_bad='ignore', but it is 'error' or 'skip'"),
        ({"augment": "mirror"}, "data.augment='mirror'"),
        ({"resize": 20, "input": {"features": 2}}, "data.resize is for images, but the network reads net.input="),
        ({"input": {"features": 2}}, "this network reads no files"),
        ({"lists": {"a": "a.txt"}}, "data.places, but that is null"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make("nowhere", **settings)


def test_the_yaml_builds_what_the_network_reads(root):
    cfg = config("data=folder", "net=lenet", f"data.root={root}", "data.source=shop", "data.target=street")
    data = build(cfg.data, "data")
    assert everything(data.eval_set("target", "test")).x.shape == (16, 1, 28, 28)
    assert data.facts() == {"num_classes": 3}


REAL = os.environ.get("DA_DATA_ROOT")


@pytest.mark.real
@pytest.mark.skipif(not (REAL and (Path(REAL) / "images").is_dir()), reason="DA_DATA_ROOT has no images")
def test_real_office_caltech_has_the_published_counts():
    data = make(
        REAL,
        "amazon",
        "dslr",
        places=["images/office_caltech10.zip"],
        sha256={"images/office_caltech10.zip": "e9ca2c4e553d2a798e1dd8abb5b83ec41ca691c75c15e8f6407fb29186216375"},
        input={"channels": 1, "size": 28},
        val_fraction=0.0,
    )
    data.load(STREAMS)
    assert len(data.domain("source").train) == 958
    assert len(data.domain("target").test) == 157
    assert data.num_classes == 10
    assert len(data.layout("amazon").items) == 958
