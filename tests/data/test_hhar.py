import io
import zipfile

import numpy as np
import pytest
import torch
from conftest import config

from da.data.hhar import Hhar

BATCH_SIZE = {"source": 4, "target": 4}
HEADER = "Index,Arrival_Time,Creation_Time,x,y,z,User,Model,Device,gt"
START = 1424696633908


def make(root, **settings):
    defaults = {"source": "s3/a", "target": "s3/b", "test_fraction": 0.0, "val_fraction": 0.0, "length": 8, "stride": 4}
    return Hhar(root=str(root), **defaults | {"batch_size": BATCH_SIZE} | settings)


def samples(user, device, gt, n, begin=0, step=10, seed=0):
    """Values [n, 3] and lines, a sample every `step` ms; a device is named after its model."""
    values = np.random.default_rng(seed).normal(size=(n, 3)).round(4)
    model = device.rpartition("_")[0]
    lines = [
        f"{i},{START + begin + i * step},{(START + begin + i * step) * 10**6},{x},{y},{z},{user},{model},{device},{gt}"
        for i, (x, y, z) in enumerate(values)
    ]
    return values, lines


def write(root, lines):
    folder = root / "timeseries/Activity recognition exp"
    folder.mkdir(parents=True)
    (folder / "Phones_accelerometer.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    (folder / "Watch_accelerometer.csv").write_text(HEADER + "\n")
    return root


def windows(*runs):
    cut = [values[i : i + 8].T for values in runs for i in range(0, len(values) - 7, 4)]
    return torch.from_numpy(np.array(cut, dtype=np.float32))


def test_windows_are_cut_within_an_activity_of_a_user_with_a_phone(tmp_path):
    stand, a = samples("a", "s3_1", "stand", 13)
    _, nothing = samples("a", "s3_1", "null", 20, begin=130)
    walk, b = samples("a", "s3_1", "walk", 9, begin=330, seed=1)
    other, c = samples("a", "s3_2", "walk", 8, begin=0, seed=2)
    after_a_gap, d = samples("a", "s3_1", "walk", 8, begin=410 + 1001, seed=3)
    data = make(write(tmp_path, [*a, *nothing, *b, *c, *d]))
    found = data.records("s3/a")
    assert torch.equal(found.x, windows(stand, walk, after_a_gap, other))
    assert list(found.labels) == ["stand"] * 2 + ["walk"] * 3
    assert "s3/a: 20 of 58 samples are of no activity and left out" in data.notices


def test_samples_are_put_into_the_order_of_time(tmp_path):
    values, lines = samples("a", "s3_1", "bike", 16)
    lines[3], lines[4] = lines[4], lines[3]
    assert torch.equal(make(write(tmp_path, lines)).records("s3/a").x, windows(values))


@pytest.mark.parametrize(
    ("name", "expected"), [("a", [0, 1]), ("s3", [0, 2]), ("nexus4", [1, 3]), ("nexus4/b", [3]), ("s3/b", [2])]
)
def test_domain_is_a_user_or_a_model_or_both(tmp_path, name, expected):
    parts = [
        samples(user, device, "sit", 8, seed=i)
        for i, (user, device) in enumerate([("a", "s3_1"), ("a", "nexus4_1"), ("b", "s3_1"), ("b", "nexus4_2")])
    ]
    root = write(tmp_path, [line for _, lines in parts for line in lines])
    found = make(root, source=name, target="samsungold/i").records(name).x
    assert sorted(map(str, found.tolist())) == sorted(str(windows(parts[i][0])[0].tolist()) for i in expected)


@pytest.mark.parametrize(("source", "target"), [("a", "s3/a"), ("a", "s3"), ("s3", "s3/b")])
def test_domains_with_rows_in_common_are_refused(tmp_path, source, target):
    with pytest.raises(ValueError, match="rows in common"):
        make(tmp_path, source=source, target=target)


def test_broken_lines_are_left_out_and_counted(tmp_path):
    values, lines = samples("a", "s3_1", "sit", 16)
    broken = [
        lines[5].replace(f",{values[5, 1]},", ",,"),
        lines[5].replace(f",{values[5, 1]},", ",NaN,"),
        lines[5].replace(f",{values[5, 1]},", ",1.2.3,"),
        lines[5].replace(",s3_1,sit", ",s3_1,flying"),
        lines[5].replace(",a,", ",j,"),
        "77,1424",
    ]
    data = make(write(tmp_path, [*lines[:6], *broken, *lines[6:]]))
    assert torch.equal(data.records("s3/a").x, windows(values))
    assert "s3/a: 6 lines of Phones_accelerometer.csv are broken and left out" in data.notices


def test_duration_of_a_window_is_said_for_each_domain(tmp_path):
    lines = [*samples("a", "s3_1", "sit", 20, step=10)[1], *samples("b", "nexus4_1", "sit", 20, step=5)[1]]
    data = make(write(tmp_path, lines), source="s3", target="nexus4")
    data.records("s3")
    data.records("nexus4")
    said = [notice for notice in data.notices if "as a rule" in notice]
    assert said == ["s3: 4 windows of 8 samples, 0.07 s as a rule", "nexus4: 4 windows of 8 samples, 0.04 s as a rule"]


def test_archive_and_folder_give_the_same_rows(tmp_path):
    lines = samples("a", "s3_1", "sit", 40)[1]
    expected = make(write(tmp_path / "a", lines)).records("s3/a")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("Activity recognition exp/Phones_accelerometer.csv", "\n".join([HEADER, *lines]) + "\n")
    (tmp_path / "b/timeseries").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "b/timeseries/heterogeneity+activity+recognition.zip", "w") as archive:
        archive.writestr("Activity recognition exp.zip", inner.getvalue())
        archive.writestr("Still exp.zip", b"no archive at all")
    found = make(tmp_path / "b").records("s3/a")
    assert torch.equal(found.x, expected.x)
    assert found.sha256 == expected.sha256


@pytest.mark.parametrize("header", ["Index,x,y,z", ""])
def test_file_with_other_columns_is_refused(tmp_path, header):
    folder = tmp_path / "timeseries/Activity recognition exp"
    folder.mkdir(parents=True)
    (folder / "Phones_accelerometer.csv").write_text(f"{header}\n1,2,3,4\n")
    with pytest.raises(ValueError, match="Phones_accelerometer.csv is not as it should be"):
        make(tmp_path).records("s3/a")


def test_folder_without_the_file_is_refused(tmp_path):
    (tmp_path / "timeseries/Activity recognition exp").mkdir(parents=True)
    with pytest.raises(ValueError, match="lacks Phones_accelerometer.csv"):
        make(tmp_path).records("s3/a")


def test_missing_archive_says_what_to_get_and_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path).records("s3/a")
    for part in ("heterogeneity+activity+recognition.zip", "archive.ics.uci.edu/dataset/344", "<root>/timeseries"):
        assert part in str(error.value)


def test_the_config_says_what_the_network_reads():
    cfg = config("data=hhar", "net=cnn1d")
    assert (cfg.net.input.channels, cfg.data.length, cfg.data.source) == (3, 128, "s3/a")
