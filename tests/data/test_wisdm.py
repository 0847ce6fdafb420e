import io
import tarfile

import numpy as np
import pytest
import torch
from conftest import config

from da.data.wisdm import Wisdm

BATCH_SIZE = {"source": 4, "target": 4}
STEP = 50_000_000  # nanoseconds


def make(root, **settings):
    defaults = {"source": 33, "target": 1, "test_fraction": 0.0, "val_fraction": 0.0, "length": 8, "stride": 4}
    return Wisdm(root=str(root), **defaults | {"batch_size": BATCH_SIZE} | settings)


def records(user, activity, n, begin=1, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, 3)).round(3)
    lines = [f"{user},{activity},{(begin + i) * STEP},{x},{y},{z}" for i, (x, y, z) in enumerate(values)]
    return values, lines


def write(root, text):
    folder = root / "timeseries/WISDM_ar_v1.1"
    folder.mkdir(parents=True)
    (folder / "WISDM_ar_v1.1_raw.txt").write_text(text)
    return root


def official(lines):
    return "".join(f"{line};\n" for line in lines)


def test_windows_are_cut_within_a_user_and_an_activity(tmp_path):
    jog, jogging = records(33, "Jogging", 17)
    walk, walking = records(33, "Walking", 13, begin=18, seed=1)
    _, other = records(1, "Jogging", 30, begin=31, seed=2)
    again, jogged = records(33, "Jogging", 11, begin=61, seed=3)
    data = make(write(tmp_path, official([*jogging, *walking, *other, *jogged])))
    found = data.records("33")
    expected = [values[i : i + 8].T for values in (jog, walk, again) for i in range(0, len(values) - 7, 4)]
    assert torch.equal(found.x, torch.from_numpy(np.array(expected, dtype=np.float32)))
    assert list(found.labels) == ["Jogging"] * 3 + ["Walking"] * 2 + ["Jogging"]
    assert len(set(found.group)) == 3


@pytest.mark.parametrize("begin", [20 + 41, 5])
def test_a_gap_or_a_step_back_in_time_ends_a_run(tmp_path, begin):
    first, lines = records(33, "Sitting", 9)
    then, more = records(33, "Sitting", 10, begin=begin, seed=1)
    found = make(write(tmp_path, official([*lines, *more]))).records("33")
    assert torch.equal(found.x, torch.from_numpy(np.array([first[:8].T, then[:8].T], dtype=np.float32)))


def test_broken_records_are_left_out_and_counted(tmp_path):
    values, lines = records(33, "Standing", 12)
    text = "".join(
        [
            f"{lines[0]};{lines[1]};\n",  # two on a line
            f"{lines[2]},;\n",  # a comma too many
            f"{lines[3]}\n",  # the semicolon is missing
            f"33,Standing,{4 * STEP},4.4,4.4,;\n",  # no z: broken
            "33,Standing,0,0,0,0;\n",  # no time: broken
            "33,Flying,250000000,1.0,2.0,3.0;\n",  # no activity of the six: broken
            "\n",
            official(lines[4:]),
            "33,Standing,1",  # cut short: broken
        ]
    )
    data = make(write(tmp_path, text))
    found = data.records("33")
    assert torch.equal(found.x, torch.from_numpy(np.array([values[:8].T, values[4:12].T], dtype=np.float32)))
    assert "33: 4 of the 16 records of WISDM_ar_v1.1_raw.txt are broken or have no time" in data.notices


def test_numbers_may_have_exponents_and_signs(tmp_path):
    lines = [f"33,Jogging,{(i + 1) * STEP},-0.5,1.5E-4,9.8e-05" for i in range(8)]
    found = make(write(tmp_path, official(lines))).records("33")
    assert torch.equal(found.x[0, :, 0], torch.tensor([-0.5, 1.5e-4, 9.8e-5]))


def test_duration_and_missing_classes_are_said(tmp_path):
    data = make(write(tmp_path, official(records(33, "Jogging", 16)[1])))
    data.records("33")
    assert data.notices == [
        "33: 3 windows of 8 samples, 0.35 s as a rule",
        "33: no window of Walking, Upstairs, Downstairs, Sitting, Standing",
    ]


def test_published_archive_gives_the_same_rows(tmp_path):
    text = official(records(33, "Jogging", 40)[1])
    expected = make(write(tmp_path / "a", text)).records("33")
    (tmp_path / "b/timeseries").mkdir(parents=True)
    with tarfile.open(tmp_path / "b/timeseries/WISDM_ar_latest.tar.gz", "w:gz") as archive:
        for name, content in (("readme.txt", "cite us"), ("WISDM_ar_v1.1_raw.txt", text)):
            member = tarfile.TarInfo(f"WISDM_ar_v1.1/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    found = make(tmp_path / "b").records("33")
    assert torch.equal(found.x, expected.x)
    assert (found.labels, found.sha256) == (expected.labels, expected.sha256)


def test_archive_without_the_file_is_refused(tmp_path):
    (tmp_path / "timeseries/WISDM_ar_v1.1").mkdir(parents=True)
    with pytest.raises(ValueError, match="lacks WISDM_ar_v1.1_raw.txt"):
        make(tmp_path).records("33")


def test_missing_archive_says_what_to_get_and_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path).records("33")
    for part in ("WISDM_ar_latest.tar.gz", "https://www.cis.fordham.edu/wisdm/dataset.php", "<root>/timeseries"):
        assert part in str(error.value)


def test_stride_and_length_must_be_positive(tmp_path):
    for option in ("stride", "length"):
        with pytest.raises(ValueError, match=f"data.{option}=0"):
            make(tmp_path, **{option: 0})


def test_the_config_says_what_the_network_reads():
    cfg = config("data=wisdm", "net=cnn1d", "data.source=7", "data.target=18")
    assert (cfg.net.input.channels, cfg.data.length) == (3, 128)
