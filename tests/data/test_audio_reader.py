"""Sound files as waveforms."""

import io
import struct
import sys
import types

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from torch.testing import assert_close

from da.data.files import Files
from da.data.readers.audio import AudioReader, ShiftAndGain, ToWave
from da.data.readers.choose import make_reader
from da.data.rows import Draw, uniform

RATE = 1000


def wav(samples, rate=RATE):
    content = io.BytesIO()
    wavfile.write(content, rate, np.asarray(samples))
    return content.getvalue()


def read(tmp_path, contents, seconds=0.008, **settings):
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return AudioReader(RATE, seconds, **settings).read(Files(tmp_path), list(contents))


def wav24(values):
    """24-bit PCM, which scipy reads and does not write."""
    data = b"".join(struct.pack("<i", value)[:3] for value in values)
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(data),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        RATE,
        3 * RATE,
        3,
        24,
        b"data",
        len(data),
    )
    return header + data


def test_every_format_gives_the_same_samples(tmp_path):
    level = np.array([0, 0.5, -1, 0.25, -0.5, 0, 0.125, 0.75])
    contents = {
        "8.wav": wav((128 + 128 * level).astype(np.uint8)),
        "16.wav": wav((level * 2**15).astype(np.int16)),
        "24.wav": wav24([int(v * 2**23) for v in level]),
        "32.wav": wav((level * 2**31).astype(np.int32)),
        "float.wav": wav(level.astype(np.float32)),
        "double.WAV": wav(level),
    }
    found = read(tmp_path, contents)
    assert found.bad == {}
    assert found.x.dtype == torch.int16
    assert found.x.tolist() == [(level * 2**15).astype(int).tolist()] * 6
    assert_close(ToWave()(found.x, Draw(torch.arange(6), 0))[0], torch.tensor(level, dtype=torch.float32))


def test_every_16_bit_sample_is_kept_as_it_is(tmp_path):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 5000, dtype=np.int16)
    assert read(tmp_path, {"a.wav": wav(samples)}, seconds=5).x[0].tolist() == samples.tolist()


def test_channels_are_averaged(tmp_path):
    stereo = np.array([[100, 300], [-7, 7], [2, 4], [5, 5]] * 2, dtype=np.int16)
    assert read(tmp_path, {"a.wav": wav(stereo)}).x.tolist() == [[200, 0, 3, 5] * 2]


def test_the_middle_of_a_long_clip_is_kept_and_a_short_one_stands_in_the_middle(tmp_path):
    long, short, odd = (np.arange(1, n + 1, dtype=np.int16) for n in (12, 4, 5))
    found = read(tmp_path, {"1.wav": wav(long), "2.wav": wav(short), "3.wav": wav(odd)})
    assert found.x.tolist() == [
        [3, 4, 5, 6, 7, 8, 9, 10],
        [0, 0, 1, 2, 3, 4, 0, 0],
        [0, 1, 2, 3, 4, 5, 0, 0],
    ]


def test_what_is_no_sound_is_listed_with_its_reason_and_the_rest_is_read(tmp_path):
    whole = wav(np.arange(1, 9, dtype=np.int16))
    contents = {
        "good.wav": whole,
        "cut.wav": whole[:-6],
        "cut_within_a_sample.wav": whole[:-5],
        "header.wav": whole[:30],
        "empty.wav": b"",
        "text.wav": b"not a sound at all, but a text that is long enough to be a header",
        "other_rate.wav": wav(np.arange(1, 9, dtype=np.int16), 44100),
        "no_samples.wav": wav(np.zeros(0, dtype=np.int16)),
        "silence.wav": wav(np.zeros(8, dtype=np.int16)),
        "nan.wav": wav(np.array([0.5, np.nan, 0.1, 0], dtype=np.float32)),
        "loud.wav": wav(np.array([0.5, 3.25, 0.1, 0], dtype=np.float32)),
        "last.wav": whole,
    }
    found = read(tmp_path, contents)
    assert found.good == [0, 11]
    assert found.x.tolist() == [[*range(1, 9)]] * 2
    expected = {
        "cut.wav": "cut short",
        "cut_within_a_sample.wav": "multiple",
        "header.wav": "buffer",
        "empty.wav": "not understood",
        "text.wav": "not understood",
        "other_rate.wav": "44100 Hz instead of 1000 (net.input.resample=true resamples)",
        "no_samples.wav": "no samples",
        "silence.wav": "silence",
        "nan.wav": "no numbers",
        "loud.wav": "floats reach 3.25",
    }
    assert found.bad.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in found.bad[name], name


def test_any_damage_to_a_header_is_a_reason_and_no_error(tmp_path):
    whole, generator = wav(np.arange(1, 9, dtype=np.int16)), np.random.default_rng(0)
    contents = {}
    for i in range(200):
        damaged = bytearray(whole)
        for place in generator.integers(0, 44, 3):
            damaged[place] = generator.integers(256)
        contents[f"{i}.wav"] = bytes(damaged)
    found = read(tmp_path, contents)
    assert len(found.good) + len(found.bad) == 200
    assert all(found.bad.values())


def test_a_title_in_a_file_does_no_harm(tmp_path):
    whole = wav(np.arange(1, 9, dtype=np.int16)) + b"name" + struct.pack("<I", 4) + b"Song"
    whole = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    assert read(tmp_path, {"a.wav": whole}).x.tolist() == [[*range(1, 9)]]


def test_resampled_tones_keep_their_pitch_and_what_is_too_high_is_filtered_out(tmp_path):
    t = np.arange(4000) / 4000
    low, high = (0.5 * np.sin(2 * np.pi * f * t) for f in (100, 700))  # 700 Hz would come back as 300 Hz
    found = read(tmp_path, {"a.wav": wav(low, 4000), "b.wav": wav(low + high, 4000)}, seconds=1.0, resample=True)
    assert found.x.shape == (2, 1000)
    expected = 0.5 * torch.sin(2 * torch.pi * 100 * torch.arange(1000) / 1000)
    for row in ToWave()(found.x, Draw(torch.arange(2), 0)):
        assert_close(row[50:-50], expected[50:-50], rtol=0, atol=0.01)  # the filter needs neighbours


def test_clips_in_memory_are_encoded_as_files_are(tmp_path):
    clips = [np.arange(1, n, dtype=np.int16) for n in (5, 20)]
    found = read(tmp_path, {f"{i}.wav": wav(clip) for i, clip in enumerate(clips)})
    reader = AudioReader(RATE, 0.008)
    assert torch.equal(reader.encode(clips, RATE), found.x)
    assert reader.encode([], RATE).shape == (0, 8)
    with pytest.raises(ValueError, match="clip 1: silence"):
        reader.encode([clips[0], np.zeros(8, dtype=np.int16)], RATE)


def test_flac_and_ogg_need_soundfile(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    found = read(tmp_path, {"a.flac": b"fLaC", "b.ogg": b"OggS"})
    assert set(found.bad.values()) == {"FLAC and OGG need soundfile: pip install soundfile"}
    # What soundfile gives is floats; an OGG decoder overshoots.
    samples = np.array([0.5, -0.25, 1.01, 0, 0, 0, 0, -1.2])
    fake = types.SimpleNamespace(read=lambda content, dtype: (samples.astype(dtype), RATE))
    monkeypatch.setitem(sys.modules, "soundfile", fake)
    found = read(tmp_path, {"a.flac": b"fLaC"})
    assert found.x.tolist() == [[2**14, -(2**13), 2**15 - 1, 0, 0, 0, 0, -(2**15)]]


def test_a_training_clip_is_moved_and_made_louder_by_its_own_numbers():
    x = torch.randint(-1000, 1000, (6, 40), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    draw = Draw(torch.tensor([5, 9, 1, 700, 3, 4]), 11)
    found = ShiftAndGain(samples=7, decibels=6.0)(x, draw)
    shifts = set()
    for row, (u, v), result in zip(x, uniform(draw, 2).tolist(), found, strict=True):
        shift, gain = round((2 * u - 1) * 7), 10 ** ((2 * v - 1) * 6 / 20)
        expected = torch.zeros(40)
        for t in range(40):
            if 0 <= t - shift < 40:
                expected[t] = float(row[t - shift]) * gain / 32768
        assert_close(result, expected)
        shifts.add(shift)
    assert len(shifts) > 3


def test_what_happens_to_a_clip_depends_on_its_row_and_the_seed_only():
    x = torch.randint(-1000, 1000, (3, 40), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    transform = ShiftAndGain(samples=7, decibels=6.0)
    whole = transform(x, Draw(torch.tensor([4, 8, 2]), 3))
    assert_close(transform(x[[2, 0]], Draw(torch.tensor([2, 4]), 3)), whole[[2, 0]], rtol=0, atol=0)
    assert not torch.equal(transform(x, Draw(torch.tensor([4, 8, 2]), 5)), whole)
    assert_close(ShiftAndGain(0, 0.0)(x, Draw(torch.arange(3), 0)), ToWave()(x, Draw(torch.arange(3), 0)))


def test_it_is_the_reader_of_a_network_with_a_sampling_rate():
    reader = make_reader({"rate": 8000, "seconds": 0.5, "resample": False})
    assert isinstance(reader, AudioReader)
    assert reader.length == 4000
    assert reader.eval_transform == ToWave()
    assert reader.train_transform == ShiftAndGain(400, 6.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0, "seconds": 1.0}, "leave no sample"),
        ({"rate": 8000, "seconds": 0.0}, "leave no sample"),
        ({"rate": 8000, "seconds": 1.0, "shift": 1.0}, "shift=1.0 must be"),
        ({"rate": 8000, "seconds": 1.0, "gain": -1.0}, "gain=-1.0 at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AudioReader(**settings)
