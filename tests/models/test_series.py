"""Backbones of series and of sound."""

import math

import pytest
import torch
from conftest import normal
from torch import nn
from torch.testing import assert_close

from da.models.cnn1d import Cnn1d
from da.models.logmel import LogMel, LogMelCnn, mel_bands
from da.models.tcn import Tcn

pytestmark = pytest.mark.usefixtures("nowhere")  # no data on this machine are found by chance


# Series


def test_cnn1d_is_adatimes():
    net = Cnn1d(9).eval()
    convolutions = [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in net if isinstance(m, nn.Conv1d)]
    assert convolutions == [(9, 64, 5), (64, 128, 8), (128, 128, 8)]
    x, lengths = normal(2, 9, 128, dtype=torch.float32), []
    for layer in net:
        x = layer(x)
        if isinstance(layer, nn.Conv1d | nn.MaxPool1d):
            lengths.append(x.shape[2])
    # An even kernel with half of it as padding adds one, and the padded maximum keeps one more.
    assert lengths == [128, 65, 66, 34, 35, 18]
    assert [m.p for m in net if isinstance(m, nn.Dropout)] == [0.5]


def test_before_the_mean_a_tcn_does_not_know_the_future():
    net = Tcn(3).eval()
    x, t = normal(2, 3, 64, dtype=torch.float32), 40
    changed = torch.cat([x[:, :, :t], normal(2, 3, 24, seed=9, dtype=torch.float32)], dim=2)
    before, after = net.levels(x), net.levels(changed)
    assert_close(after[:, :, :t], before[:, :, :t], rtol=0, atol=0)
    assert (after[:, :, t] != before[:, :, t]).any()


@pytest.mark.parametrize(("levels", "kernel"), [(1, 2), (3, 3), (2, 5)])
def test_an_output_of_a_tcn_sees_as_far_back_as_the_dilations_say(levels, kernel):
    net = Tcn(2, [4] * levels, kernel).eval()
    for p in net.parameters():
        p.data.abs_()  # with positive weights and inputs no ReLU is closed
    x = torch.ones(1, 2, 80, requires_grad=True)
    net.levels(x)[0, :, -1].sum().backward()
    seen = x.grad.abs().sum(dim=(0, 1)).nonzero().flatten()
    assert seen.min() == 80 - (1 + 2 * (kernel - 1) * (2**levels - 1))


def test_a_convolution_of_a_tcn_has_a_direction_and_a_length():
    conv = Tcn(2).levels[0].residual[0].conv
    lengths = conv.parametrizations.weight.original0.flatten()
    assert_close(conv.weight.flatten(1).norm(dim=1), lengths)


def test_a_network_of_no_layers_is_refused():
    for make in (lambda: Tcn(2, []), lambda: LogMelCnn(8000, widths=[])):
        with pytest.raises(ValueError, match=r"got widths=\[\]"):
            make()


# Sound


def test_mel_bands_are_triangles_of_the_textbook():
    rate, n_mels, n_fft = 8000, 12, 256
    mel = [2595 * math.log10(1 + rate / 2 / 700) * i / (n_mels + 1) for i in range(n_mels + 2)]
    corner = [700 * (10 ** (m / 2595) - 1) for m in mel]
    expected = torch.zeros(n_mels, n_fft // 2 + 1)
    for k in range(n_mels):
        low, middle, high = corner[k : k + 3]
        for b in range(n_fft // 2 + 1):
            f = b * rate / n_fft
            if low <= f <= middle:
                expected[k, b] = (f - low) / (middle - low)
            elif middle < f <= high:
                expected[k, b] = (high - f) / (high - middle)
    assert_close(mel_bands(rate, n_mels, n_fft), expected)


def test_between_the_first_and_the_last_middle_the_mel_bands_add_up_to_one():
    bands = mel_bands(16000, 20, 512)
    first, last = (int(band.argmax()) for band in (bands[0], bands[-1]))
    assert_close(bands[:, first + 1 : last].sum(dim=0), torch.ones(last - first - 1))


def test_more_mel_bands_than_frequencies_are_refused():
    with pytest.raises(ValueError, match=r"\d+ of n_mels=128 bands hold none of the frequencies of n_fft=256"):
        LogMelCnn(8000, n_mels=128)


def test_a_frame_of_the_log_mel_spectrogram_is_its_definition():
    rate, n_fft, hop = 8000, 64, 32
    spectrogram = LogMel(rate, 6, n_fft, hop)
    x = normal(1, 320)
    # Written out: the frame around sample 5 * hop, Hann window, discrete Fourier transform.
    frame = x[0, 5 * hop - n_fft // 2 : 5 * hop + n_fft // 2]
    n = torch.arange(n_fft, dtype=torch.float64)
    windowed = frame * (0.5 - 0.5 * (2 * math.pi * n / n_fft).cos())
    angle = 2 * math.pi * n[:, None] * torch.arange(n_fft // 2 + 1) / n_fft
    power = (windowed @ angle.cos()) ** 2 + (windowed @ angle.sin()) ** 2
    expected = (mel_bands(rate, 6, n_fft).double() @ power + 1e-6).log()
    shown = spectrogram(x.float())
    assert shown.shape == (1, 1, 6, 320 // hop + 1)
    found = shown[0, 0, :, 5].double()
    assert_close(found - found.mean(), expected - expected.mean(), rtol=0, atol=1e-4)


def test_the_log_mel_spectrogram_has_no_mean_and_knows_no_loudness():
    spectrogram, x = LogMel(8000, 20, 256, 80), normal(3, 4000, dtype=torch.float32)
    shown = spectrogram(x)
    assert_close(shown.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert_close(
        spectrogram(0.1 * x), shown, atol=1e-2, rtol=0
    )  # but for the floor, which the softer clip is nearer to


def test_a_tone_lights_up_the_band_that_it_lies_in():
    t = torch.arange(8000) / 8000
    bands = mel_bands(8000, 20, 256)
    for frequency in (500, 1500, 3000):
        shown = LogMel(8000, 20, 256, 80)(torch.sin(2 * math.pi * frequency * t)[None])
        assert shown[0, 0, :, 50].argmax() == bands[:, round(frequency * 256 / 8000)].argmax()
