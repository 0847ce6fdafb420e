import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config, everything
from scipy.io import wavfile

from da.build import build
from da.data import download, fsdd
from da.data.fsdd import Fsdd

INPUT = {"rate": 8000, "seconds": 0.05, "resample": False}  # 400 samples
BATCH_SIZE = {"source": 4, "target": 4}
TIMES = 10  # that a speaker says a digit


def make(root=None, **settings):
    defaults = {"source": "theo", "target": "jackson", "input": INPUT, "batch_size": BATCH_SIZE}
    return Fsdd(root=root and str(root), **defaults | settings)


@pytest.fixture
def clips():
    """Noise of 200 to 600 samples, by speaker, digit and number."""
    rng = np.random.default_rng(0)
    return {
        (speaker, digit, number): rng.integers(-20000, 20000, rng.integers(200, 600)).astype(np.int16)
        for speaker in Fsdd.known_names
        for digit in range(10)
        for number in range(TIMES)
    }


@pytest.fixture
def root(tmp_path, monkeypatch, clips):
    """A file as the shipped one: its clips are in the order of their names, so 10 comes before 2."""
    keys = sorted(clips, key=lambda key: (key[0], key[1], str(key[2])))
    folder = tmp_path / "data"
    (folder / "audio").mkdir(parents=True)
    file = folder / "audio" / "fsdd.npz"
    np.savez(
        file,
        audio=np.concatenate([clips[key] for key in keys]),
        offsets=np.cumsum([0, *(len(clips[key]) for key in keys)]),
        domain=np.array([Fsdd.known_names.index(key[0]) for key in keys]),
        y=np.array([key[1] for key in keys]),
        index=np.array([key[2] for key in keys]),
        domain_names=np.array(Fsdd.known_names),
        sample_rate=np.array(8000),
    )
    monkeypatch.setattr(fsdd, "SHA256", download.sha256(file))
    return folder


def fitted(clip):
    """The middle 400 samples, or the clip in the middle of silence."""
    if len(clip) > 400:
        return clip[(len(clip) - 400) // 2 :][:400]
    before = (400 - len(clip)) // 2
    return np.pad(clip, (before, 400 - len(clip) - before))


def archive(clips, folder):
    """The published archive as GitHub gives it out."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "free-spoken-digit-dataset.zip", "w") as file:
        file.writestr("free-spoken-digit-dataset-26eb9aaf/README.md", "6 speakers")
        for (speaker, digit, number), clip in clips.items():
            wav = BytesIO()
            wavfile.write(wav, 8000, clip)
            file.writestr(
                f"free-spoken-digit-dataset-26eb9aaf/recordings/{digit}_{speaker}_{number}.wav", wav.getvalue()
            )


def test_first_five_of_each_digit_are_scored_and_the_others_trained_on(root, clips):
    data = make(root, val_fraction=0.0)
    for role, speaker in (("source", "theo"), ("target", "jackson")):
        domain = data.domain(role)
        for rows, numbers in ((domain.test, range(5)), (domain.val, range(5, TIMES))):
            batch = everything(rows)
            expected = [fitted(clips[speaker, digit, number]) for digit in range(10) for number in numbers]
            assert torch.equal(batch.x, torch.from_numpy(np.stack(expected)).float() / 32768)
            assert batch.y.tolist() == [digit for digit in range(10) for _ in numbers]


def test_clips_are_moved_and_made_louder_in_training_only(root):
    data = make(root, val_fraction=0.0)
    plain = make(root, val_fraction=0.0, shift=0.0, gain=0.0)
    for role in ("source", "target"):
        assert not torch.equal(everything(data.domain(role).train).x, everything(plain.domain(role).train).x)
        assert torch.equal(everything(data.domain(role).val).x, everything(plain.domain(role).train).x)


def test_published_archive_gives_the_same_rows(root, clips, tmp_path):
    archive(clips, tmp_path / "published/audio")
    ours, theirs = (make(folder).records("lucas") for folder in (root, tmp_path / "published"))
    assert torch.equal(ours.x, theirs.x)
    assert (ours.labels, ours.keys, ours.split) == (theirs.labels, theirs.keys, theirs.split)
    assert ours.sha256 == theirs.sha256


def test_damaged_recording_is_named(clips, tmp_path):
    clips["theo", 3, 1] = np.zeros(300, dtype=np.int16)
    archive(clips, tmp_path / "published/audio")
    with pytest.raises(ValueError, match="3_theo_1.wav is bad: silence"):
        make(tmp_path / "published").records("theo")


def test_archive_without_recordings_is_refused(tmp_path):
    archive({}, tmp_path / "published/audio")
    with pytest.raises(ValueError, match=r"no files recordings/0_theo_0\.wav.*get https://github.com/Jakobovski"):
        make(tmp_path / "published").records("theo")


def test_another_rate_is_an_error_unless_it_is_to_be_resampled(root):
    with pytest.raises(ValueError, match="8000 Hz instead of 16000"):
        make(root, input=INPUT | {"rate": 16000}).records("theo")
    assert make(root, input=INPUT | {"rate": 16000, "resample": True}).records("theo").x.shape == (100, 800)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "nicola"}, "there is no domain 'nicola'"),
        ({"input": {"channels": 1, "size": 28}}, "reads no sound; net=logmel does"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_new_files_are_read_as_the_targets(clips, tmp_path):
    for number in (7, 3):
        wavfile.write(tmp_path / f"{number}.wav", 8000, clips["theo", 0, number])
    (tmp_path / "notes.txt").write_text("not a sound")
    rows, names = make().inputs(str(tmp_path))
    assert names == ["3.wav", "7.wav"]
    expected = np.stack([fitted(clips["theo", 0, number]) for number in (3, 7)])
    assert torch.equal(everything(rows).x, torch.from_numpy(expected).float() / 32768)
    assert make().inputs(str(tmp_path / "7.wav"))[1] == ["7.wav"]


def test_bad_new_file_is_an_error_or_left_out_with_a_notice(clips, tmp_path):
    wavfile.write(tmp_path / "good.wav", 8000, clips["theo", 0, 1])
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    data = make()
    with pytest.raises(ValueError, match=r"1 of 2 files .*bad\.wav"):
        data.inputs(str(tmp_path))
    data.on_bad = "skip"
    assert data.inputs(str(tmp_path))[1] == ["good.wav"]
    assert "bad.wav" in data.notices[0]


def test_the_config_builds_data_that_the_network_reads(root):
    cfg = config("data=fsdd", "net=logmel", f"data.root={root}")
    data, net = build(cfg.data, "data"), build(cfg.net, "net")
    z, logits = net.eval()(everything(data.eval_set("target", "test")).x)
    assert (z.shape, logits.shape) == ((50, cfg.net.feature_dim), (50, 10))


REAL = os.environ.get("DA_DATA_ROOT")


@pytest.mark.real
@pytest.mark.skipif(not (REAL and (Path(REAL) / fsdd.ORIGIN.places[0]).is_file()), reason="DA_DATA_ROOT has no file")
def test_real_file_has_fifty_clips_a_digit_and_digits_are_told_apart_within_a_speaker():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = make(REAL, input=INPUT | {"seconds": 1.0}, val_fraction=0.0)

    def features(rows):
        x, y = everything(rows)[:2]
        power = torch.stft(x, 512, 256, window=torch.hann_window(512), return_complex=True).abs().square()
        bands = torch.nn.functional.adaptive_avg_pool2d(power[:, None], (32, 16))
        return bands.clamp(min=1e-10).log().flatten(1).numpy(), y.numpy()

    for role in ("source", "target"):
        domain = data.domain(role)
        assert domain.test.y.bincount().tolist() == [5] * 10
        assert domain.train.y.bincount().tolist() == [45] * 10
    theo, jackson = data.domain("source"), data.domain("target")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=100)).fit(*features(theo.val))
    assert model.score(*features(theo.test)) > 0.85  # the data's README: .88 to 1.0 within a speaker
    assert 0.3 < model.score(*features(jackson.test)) < 0.9  # .78 there, on other features
