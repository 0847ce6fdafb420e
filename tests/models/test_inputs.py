"""Rows of one network turned into those of another, against torchvision's transforms and the data's own."""

import pytest
import torch
from conftest import normal
from torch.testing import assert_close
from torchvision.transforms.v2 import functional as tv

from da.data.images import RGB_TO_GREY, ToNetwork
from da.data.rows import Draw
from da.models.inputs import ConvertImages, ConvertScale, ImageFormat, convert_input, image_format

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
FORMATS = [
    {"channels": 1, "size": 28},
    {"channels": 3, "size": 32},
    {"channels": 3, "size": 40, **IMAGENET},
    {"channels": 3, "size": 28, "mean": 0.2, "std": 0.7},
]


def pixels(channels, size):
    return (normal(4, channels, size, size, dtype=torch.float32) * 0.2 + 0.5).clamp(0, 1)


def normalised(x, facts):
    many = facts["channels"]
    mean, std = (facts.get(name, 0.5) for name in ("mean", "std"))
    return tv.normalize(x, *([v] * many if isinstance(v, float) else v for v in (mean, std)))


@pytest.mark.parametrize("given", FORMATS, ids=str)
@pytest.mark.parametrize("wanted", FORMATS, ids=str)
def test_images_equal_those_of_torchvisions_transforms(given, wanted):
    x = pixels(given["channels"], given["size"])
    expected = x
    if given["channels"] != wanted["channels"]:
        expected = tv.rgb_to_grayscale(x) if wanted["channels"] == 1 else tv.grayscale_to_rgb(x)
    expected = normalised(tv.resize(expected, [wanted["size"]] * 2, antialias=True), wanted)
    convert = convert_input(given, wanted)
    if given == wanted:
        assert convert is None
        return
    found = convert(normalised(x, given))
    assert found.shape == expected.shape
    assert_close(found, expected, atol=2e-3, rtol=0)  # torchvision's weight of red is 0.2989


def test_what_the_data_prepare_for_one_network_becomes_what_they_prepare_for_the_other():
    x, draw = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8), Draw(torch.arange(3), 0)
    for given, wanted in ((ToNetwork(3, 32, 0.4, 0.3), ToNetwork(1, 32)), (ToNetwork(3, 32), ToNetwork(3, 20, 0.1))):
        formats = [ImageFormat(t.channels, t.size, t.mean, t.std) for t in (given, wanted)]
        found = ConvertImages(*formats)(given(x, draw))
        byte = 0 if wanted.size == 32 else 1 / 255 / 0.5  # the data round to whole bytes when they resize
        assert_close(found, wanted(x, draw), atol=byte + 1e-5, rtol=0)


def test_the_weights_of_red_green_and_blue_are_those_of_the_data():
    from da.models import inputs

    assert inputs.RGB_TO_GREY == RGB_TO_GREY


def test_facts_that_are_no_images_must_be_equal():
    assert convert_input({"features": 4}, {"features": 4}) is None
    for given, wanted in (({"features": 4}, {"features": 5}), ({"channels": 3}, {"channels": 3, "size": 8})):
        with pytest.raises(ValueError, match="can't be turned into rows for net.input="):
            convert_input(given, wanted)
    with pytest.raises(ValueError, match="images of 4 channels can't become images of 3"):
        convert_input({"channels": 4, "size": 8}, {"channels": 3, "size": 8})
    assert image_format({"channels": 1, "size": 8}) == ImageFormat(1, 8, 0.5, 0.5)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 7)])
def test_standardised_numbers_become_those_of_another_standardisation(shape):
    raw = 1000 + 10 * normal(*shape)
    given, wanted = ((990.0, 1000.0, 1010.0), (10.0, 20.0, 5.0)), ((1001.0, 999.0, 1000.0), (3.0, 1.0, 2.0))

    def standardised(mean, std):
        view = [-1, *[1] * (len(shape) - 2)]
        return (raw - torch.tensor(mean, dtype=raw.dtype).view(view)) / torch.tensor(std, dtype=raw.dtype).view(view)

    assert_close(ConvertScale(given, wanted)(standardised(*given)), standardised(*wanted))
    assert_close(ConvertScale(((0.0,), (1.0,)), wanted)(raw), standardised(*wanted))
    categories = torch.arange(5)
    found = ConvertScale(given, wanted)({"numeric": standardised(*given), "categorical": categories})
    assert_close(found, {"numeric": standardised(*wanted), "categorical": categories})
