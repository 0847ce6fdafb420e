import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config, everything
from torch.testing import assert_close

from da.build import build
from da.data import download, sensors
from da.data.rows import Draw
from da.data.sensors import SpSwHar

BATCH_SIZE = {"source": 4, "target": 4}
ACTIVITIES = SpSwHar.known_classes


def make(root=None, **settings):
    defaults = {"source": "smartphone", "target": "smartwatch", "batch_size": BATCH_SIZE}
    return SpSwHar(root=root and str(root), **defaults | settings)


@pytest.fixture
def windows():
    """Eight windows of each of four runs of three subjects, on both devices; the last run is test."""
    rng = np.random.default_rng(0)
    device, subject, execution, place = (
        part.flatten() for part in np.meshgrid([0, 1], [1, 2, 5], [1, 2, 3, 4], np.arange(8), indexing="ij")
    )
    x = (rng.normal(size=(len(place), 6, 64)) * (1 + 4 * device[:, None, None])).astype(np.float32)
    return {
        **{"x": x, "y": place % 5, "device": device, "subject": subject, "execution": execution},
        "is_test": execution == 4,
    }


@pytest.fixture
def root(tmp_path, monkeypatch, windows):
    """A file as the shipped one."""
    folder = tmp_path / "data"
    (folder / "timeseries").mkdir(parents=True)
    file = folder / "timeseries" / "sp_sw_har.npz"
    np.savez(file, **windows)
    monkeypatch.setattr(sensors, "SHA256", download.sha256(file))
    return folder


@pytest.mark.parametrize(("name", "device", "subject"), [("smartphone", 0, None), ("smartwatch/5", 1, 5)])
def test_domain_is_a_device_or_what_a_subject_wore(root, windows, name, device, subject):
    records = make(root).records(name)
    own = (windows["device"] == device) & ((windows["subject"] == subject) if subject else True)
    assert torch.equal(records.x, torch.from_numpy(windows["x"][own]))
    assert list(records.labels) == [ACTIVITIES[c] for c in windows["y"][own]]
    assert list(records.split) == ["test" if test else "train" for test in windows["is_test"][own]]
    assert len(set(records.keys)) == own.sum()


def test_a_run_is_held_out_as_a_whole(root):
    data = make(root, val_fraction=0.4)
    split, _ = data.split("smartphone", "source")
    parts = {}
    for run, part in zip(data.records("smartphone").group, split, strict=True):
        parts.setdefault(run, set()).add(part)
    assert all(len(part) == 1 for part in parts.values())
    assert {"train", "val", "test"} == set.union(*parts.values())


def test_both_devices_hold_out_the_same_runs(root):
    data = make(root)
    assert data.records("smartphone").group == data.records("smartwatch").group


def test_channels_are_scaled_by_the_sources_training_windows(root, windows):
    data = make(root, val_fraction=0.0)
    own = torch.from_numpy(windows["x"][(windows["device"] == 0) & ~windows["is_test"]])
    mean, std = own.mean((0, 2)), own.std((0, 2), correction=0)
    for role, device in (("source", 0), ("target", 1)):
        x = torch.from_numpy(windows["x"][(windows["device"] == device) & windows["is_test"]])
        assert_close(everything(data.domain(role).test).x, (x - mean[:, None]) / std[:, None])


def recording(rng, seconds, labels):
    """Lines of a file as published: samples at odd times, some twice at the same, and one activity after the other."""
    time = np.cumsum(rng.integers(0, 40, int(seconds * 50)))
    time -= time[0]
    values = rng.normal(size=(len(time), 6)).round(4)
    names = [labels[int(i * len(labels) / len(time))] for i in range(len(time))]
    header = "x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label"
    lines = [
        f"{','.join(map(str, v))},{1657533977813 + t},{name}" for v, t, name in zip(values, time, names, strict=True)
    ]
    return time, values, names, "\n".join([header, *lines]) + "\n"


def naive_windows(time, values, names):
    """What the data's README says: resampled to 50 Hz, 64 samples, every 16, kept where one label covers 75 %."""
    first = [i for i in range(len(time)) if i == 0 or time[i] > time[i - 1]]
    samples, labels = [], []
    for k in range(10**6):
        t = 20 * k
        if t >= time[-1]:
            break
        after = next(j for j, i in enumerate(first) if time[i] >= t)
        b, a = first[after], first[max(after - 1, 0)]
        part = 0.0 if a == b else (t - time[a]) / (time[b] - time[a])
        samples.append(values[a] + part * (values[b] - values[a]))
        labels.append(names[b])
    x, y = [], []
    for start in range(0, len(samples) - 63, 16):
        label = max(set(labels[start : start + 64]), key=labels[start : start + 64].count)
        if labels[start : start + 64].count(label) >= 48:
            x.append(np.array(samples[start : start + 64]).T)
            y.append(label.lower())
    return np.array(x, dtype=np.float32), y


@pytest.fixture
def published(tmp_path):
    """The owner's archive with four runs of subject 1 on both devices; returns its folder and the recordings."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "published/timeseries"
    folder.mkdir(parents=True)
    recordings = {}
    with zipfile.ZipFile(folder / "sp-sw-har-dataset.zip", "w") as archive:
        archive.writestr("sp-sw-har-dataset-1408d85a/DATA/executions_info.csv", "execution_id\ns01_01\n")
        for run in range(1, 5):
            for device in ("sp", "sw"):
                *recordings[run, device], text = recording(rng, 9, ["SEATED", "WALKING", "TURNING"])
                archive.writestr(f"sp-sw-har-dataset-1408d85a/DATA/s01/s01_{run:02d}_{device}.csv", text)
    return tmp_path / "published", recordings


def test_published_recordings_are_cut_as_the_readme_says(published):
    folder, recordings = published
    records = make(folder).records("smartwatch/1")
    expected = [naive_windows(*recordings[run, "sw"]) for run in range(1, 5)]
    assert_close(records.x, torch.from_numpy(np.concatenate([x for x, _ in expected])))
    assert list(records.labels) == [label for _, labels in expected for label in labels]
    assert len(set(records.labels)) == 3
    last = len(expected[3][1])  # 30 % of four runs is one run
    assert list(records.split) == ["train"] * (len(records.x) - last) + ["test"] * last


def test_recording_that_is_none_is_named(published):
    folder, _ = published
    with zipfile.ZipFile(folder / "timeseries/sp-sw-har-dataset.zip", "a") as archive:
        archive.writestr("sp-sw-har-dataset-1408d85a/DATA/s02/s02_01_sp.csv", "x_acc,label\n1.0,SEATED\n")
    with pytest.raises(ValueError, match=r"s02_01_sp.csv is no recording of sp_sw_har"):
        make(folder).records("smartphone")


def test_class_that_a_domain_lacks_is_reported(root, windows, monkeypatch):
    keep = ~((windows["subject"] == 2) & (windows["y"] == 0))
    file = root / "timeseries/sp_sw_har.npz"
    np.savez(file, **{name: values[keep] for name, values in windows.items()})
    monkeypatch.setattr(sensors, "SHA256", download.sha256(file))
    data = make(root, source="smartphone/2", target="smartphone/5")
    data.load(frozenset({"source", "target"}))
    assert "smartphone/2: no window of seated" in data.notices
    assert data.num_classes == 5


def test_missing_file_says_what_to_get_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_probe", lambda url: (_ for _ in ()).throw(ConnectionError("no network")))
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path).domain("source")
    for part in ("timeseries/sp_sw_har.npz", "10.5281/zenodo.8398688", "sp-sw-har-dataset.zip", "no network"):
        assert part in str(error.value)


def test_changed_file_is_refused(root):
    with (root / "timeseries/sp_sw_har.npz").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match="is not the file it should be"):
        make(root).domain("source")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "watch"}, "there is no domain 'watch'"),
        ({"source": "smartwatch/24"}, "there is no domain 'smartwatch/24'"),
        ({"source": "smartwatch/5"}, "'smartwatch/5' and 'smartwatch', which have rows in common"),
        ({"num_channels": 9}, "num_channels=9, but the channels are acc_x"),
        ({"length": 128}, "length=128, but the windows have 64"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_new_windows_are_scaled_as_the_targets_without_the_training_data(root, tmp_path):
    trained = make(root)
    x = np.random.default_rng(1).normal(size=(3, 6, 64)).astype(np.float32)
    np.savez(tmp_path / "new.npz", x=x)
    new = make(tmp_path / "nowhere")
    new.restore(trained.state())
    rows, names = new.inputs(str(tmp_path / "new.npz"))
    assert names == ["0", "1", "2"]
    assert_close(everything(rows).x, trained.scale("smartphone")(torch.from_numpy(x), Draw(torch.arange(3), 0)))


@pytest.mark.parametrize(
    ("x", "message"), [(np.zeros((2, 3, 64)), r"expected \[n, 6, 64\]"), (np.full((2, 6, 64), np.nan), "NaN")]
)
def test_new_windows_that_are_none_are_refused(root, tmp_path, x, message):
    np.savez(tmp_path / "new.npz", x=x)
    with pytest.raises(ValueError, match=message):
        make(root).inputs(str(tmp_path / "new.npz"))


def test_the_config_builds_data_that_the_networks_read(root):
    for name in ("cnn1d", "tcn"):
        cfg = config("data=sp_sw_har", f"net={name}", f"data.root={root}", "data.source=smartphone/1")
        data, net = build(cfg.data, "data"), build(cfg.net, "net")
        z, logits = net.eval()(everything(data.eval_set("target", "test")).x)
        assert (len(z), logits.shape[1]) == (24, 5)


REAL = os.environ.get("DA_DATA_ROOT")


@pytest.mark.real
@pytest.mark.skipif(not (REAL and Path(REAL, sensors.ORIGIN.places[0]).is_file()), reason="DA_DATA_ROOT has no file")
def test_real_file_has_the_published_sizes_and_devices_that_differ():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(rows):
        x, y = everything(rows)[:2]
        parts = x.mean(2), x.std(2), x.amin(2), x.amax(2), x.diff(dim=2).abs().mean(2)
        return torch.cat(parts, dim=1).numpy(), y.numpy()

    data = make(REAL, standardise="none", val_fraction=0.0)
    phone, watch = data.domain("source"), data.domain("target")
    assert (len(phone.train) + len(phone.test), len(watch.train) + len(watch.test)) == (4353, 4342)
    walking = data.class_names.index("walking")
    y = torch.cat([rows.y for domain in (phone, watch) for rows in (domain.train, domain.test)])
    assert (y == walking).float().mean().item() == pytest.approx(0.61, abs=0.005)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(*features(phone.train))
    within, across = (model.score(*features(domain.test)) for domain in (phone, watch))
    assert within == pytest.approx(0.88, abs=0.03)  # the data's README
    assert across < 0.35  # .18 there
