import io
import shutil
import zipfile

import numpy as np
import pytest
import torch
from conftest import config

from da.build import build
from da.data.rows import Draw
from da.data.uci_har import SIGNALS, UciHar

BATCH_SIZE = {"source": 4, "target": 4}
INERTIAL = "Inertial Signals"


def make(root, **settings):
    defaults = {"source": 1, "target": 3, "test_fraction": 0.3, "batch_size": BATCH_SIZE}
    return UciHar(root=str(root), **defaults | settings)


@pytest.fixture
def rows():
    """By part of the archive: subject, activity and windows [n, 9, 128]; ten windows of each activity in a run."""
    rng = np.random.default_rng(0)
    parts = {}
    for part, subjects in (("train", [1, 3]), ("test", [2])):
        subject = np.repeat(subjects, 60)
        parts[part] = (
            subject,
            np.tile(np.repeat(np.arange(1, 7), 10), len(subjects)),
            rng.normal(size=(len(subject), 9, 128)),
        )
    return parts


@pytest.fixture
def folder(tmp_path, rows):
    """The folder in the official archive: numbers in scientific notation, two spaces or one before each."""
    folder = tmp_path / "data/timeseries/UCI HAR Dataset"
    for part, (subject, y, x) in rows.items():
        (folder / part / INERTIAL).mkdir(parents=True)
        np.savetxt(folder / part / f"subject_{part}.txt", subject, fmt="%d")
        np.savetxt(folder / part / f"y_{part}.txt", y, fmt="%d")
        for i, signal in enumerate(SIGNALS):
            np.savetxt(folder / part / INERTIAL / f"{signal}_{part}.txt", x[:, i], fmt="% .7e", delimiter=" ")
    (folder / "activity_labels.txt").write_text("1 WALKING\n")
    return folder


def test_domain_is_a_subject_whichever_part_of_the_archive_it_is_in(folder, rows):
    for name, part in (("1", "train"), ("2", "test"), ("3", "train")):
        subject, y, x = rows[part]
        own = subject == int(name)
        records = make(folder.parents[1], source=name, target="30", val_fraction=0.0, test_fraction=0.0).records(name)
        assert torch.allclose(records.x, torch.from_numpy(x[own]).float(), rtol=1e-6, atol=1e-6)
        assert list(records.labels) == [UciHar.known_classes[c - 1] for c in y[own]]


def test_end_of_every_run_is_scored_and_shares_no_samples_with_the_rest(folder):
    data = make(folder.parents[1], val_fraction=0.2)
    data.load(frozenset({"source", "target"}))
    # Of ten windows that overlap by half three are test, two of the source's are val: of each the first is left out.
    for role, parts in (("source", {"train": 5, "val": 1, "test": 2}), ("target", {"train": 7, "val": 7, "test": 2})):
        for part, n in parts.items():
            assert getattr(data.domain(role), part).y.bincount().tolist() == [n] * 6
    assert "3: 6 windows left out that two parts would share samples of" in data.notices
    assert not [notice for notice in data.notices if "leak" in notice]


def test_both_archives_and_the_folder_give_the_same_rows(folder, tmp_path):
    expected = make(folder.parents[1]).records("1")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for path in folder.rglob("*.txt"):
            archive.write(path, f"UCI HAR Dataset/{path.relative_to(folder).as_posix()}")
            archive.writestr(f"__MACOSX/UCI HAR Dataset/._{path.name}", b"\0")
    for name, content in (
        ("UCI HAR Dataset.zip", inner.getvalue()),
        ("human+activity+recognition+using+smartphones.zip", None),
    ):
        root = tmp_path / name.partition(".")[0]
        (root / "timeseries").mkdir(parents=True)
        if content is not None:
            (root / "timeseries" / name).write_bytes(content)
        else:
            with zipfile.ZipFile(root / "timeseries" / name, "w") as archive:
                archive.writestr("UCI HAR Dataset.names", "names")
                archive.writestr("UCI HAR Dataset.zip", inner.getvalue())
        found = make(root).records("1")
        assert torch.equal(found.x, expected.x)
        assert (found.sha256, found.keys, found.split) == (expected.sha256, expected.keys, expected.split)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("y_train.txt", "1 2 3", "the files are not of"),
        ("y_train.txt", "7\n" * 120, "the activities are 1 to 6, but y has .*7"),
        (f"{INERTIAL}/total_acc_z_train.txt", "1 2 three", "total_acc_z_train.txt has something else than numbers"),
        (f"{INERTIAL}/total_acc_z_train.txt", "1 2 3", "the files are not of 180 windows of 128"),
        (f"{INERTIAL}/body_gyro_x_train.txt", None, "lacks body_gyro_x_train.txt"),
    ],
)
def test_archive_that_is_not_what_it_should_be_is_refused(folder, name, content, message):
    file = folder / "train" / name
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(ValueError, match=message):
        make(folder.parents[1]).records("1")


def test_damaged_archive_says_to_get_it_again(tmp_path):
    (tmp_path / "timeseries").mkdir()
    (tmp_path / "timeseries/UCI HAR Dataset.zip").write_bytes(b"PK\3\4 cut short")
    with pytest.raises(ValueError, match="is damaged: .* get it again"):
        make(tmp_path).records("1")


def test_subject_without_windows_is_refused(folder):
    with pytest.raises(ValueError, match="7: there is no window of 128 samples"):
        make(folder.parents[1], source=7).records("7")


def test_missing_archive_says_what_to_get_and_where_to_put_it(folder):
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError) as error:
        make(folder.parents[1]).records("1")
    for part in ("archive.ics.uci.edu/dataset/240", "human+activity+recognition+using+smartphones.zip", "timeseries"):
        assert part in str(error.value)


def test_config_takes_subjects_as_numbers_and_the_network_reads_the_windows(folder):
    cfg = config("data=uci_har", "net=cnn1d", f"data.root={folder.parents[1]}", "data.source=[1,3]", "data.target=2")
    data, net = build(cfg.data, "data"), build(cfg.net, "net")
    assert data.names() == {"source": "1+3", "target": "2"}
    rows = data.eval_set("target", "test")
    assert net.eval()(rows[Draw(torch.arange(len(rows)), 0)].x)[1].shape == (12, 6)
