from functools import cache

import pytest
import torch
from sklearn.datasets import load_digits
from torch.testing import assert_close

from da.data.digits_demo import HEIGHT, DigitsDemo, handwritten, printed
from da.data.rows import Draw

handwritten, printed = cache(handwritten), cache(printed)


def demo(**settings):
    return DigitsDemo(**{"source_rows": 400, "num_classes": 10, "batch_size": {"source": 4, "target": 4}} | settings)


def test_source_is_split_and_target_is_transductive():
    data = demo()
    source, target = data.domain("source"), data.domain("target")
    assert [len(rows) for rows in (source.train, source.val, source.test)] == [360, 40, 1000]
    assert target.train is target.test
    assert target.train is target.val
    assert len(target.train) == 1797
    assert (
        data.names() == {"source": source.name, "target": target.name} == {"source": "fonts", "target": "handwritten"}
    )


def test_target_labels_are_those_of_the_images():
    x, y = handwritten(28)
    assert torch.equal(y, torch.from_numpy(load_digits().target))
    small = torch.from_numpy(load_digits().images).sum((1, 2))
    assert torch.corrcoef(torch.stack([small, x.sum((1, 2)).double()]))[0, 1] > 0.99  # same order, same ink


def test_printed_digits_of_a_class_are_alike():
    x, y = printed(1400, 28)
    x = x.flatten(1).float()
    means = torch.stack([x[:700][y[:700] == c].mean(dim=0) for c in range(10)])
    found = torch.cdist(x[700:], means).argmin(dim=1)
    assert (found == y[700:]).float().mean() > 0.7  # nearest mean; 0.1 by chance


def test_printed_digits_are_the_same_in_every_run_and_need_no_global_seed():
    torch.manual_seed(1)
    first = printed.__wrapped__(50, 28)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, printed.__wrapped__(50, 28), strict=True))


@pytest.mark.parametrize("images", [lambda size: handwritten(size), lambda size: printed(1400, size)])
@pytest.mark.parametrize("size", [28, 32])
def test_both_domains_are_white_on_black_centred_and_equally_high(images, size):
    x = images(size)[0].float() / 255
    assert x.shape[1:] == (size, size)
    assert x.amax((1, 2)).mean() > 0.9
    edge = torch.cat([x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]], dim=1)
    assert (edge.amax(dim=1) > 0.1).float().mean() < 0.01  # a rare extreme of width, slant and place may touch the edge
    inside = x.amax(dim=2) > 0.25
    # whole pixels at both ends, and a height rounded to whole pixels
    assert_close(inside.sum(dim=1).float().mean() / size, torch.tensor(HEIGHT), atol=1.5 / size, rtol=0)
    ink = x.mean(dim=0) / x.mean(dim=0).sum()
    place = (torch.arange(size) + 0.5) / size
    for axis in (0, 1):
        assert_close(ink.sum(dim=axis) @ place, torch.tensor(0.5), atol=0.03, rtol=0)


def test_every_class_is_printed_equally_often():
    counts = printed(1400, 28)[1].bincount(minlength=10)
    assert counts.min() > 140 - 4 * 11.3
    assert counts.max() < 140 + 4 * 11.3


def test_network_gets_the_channels_it_asked_for():
    batch = demo(channels=3, size=32).train_set("target")[Draw(torch.arange(4), 0)]
    assert batch.x.shape == (4, 3, 32, 32)
    assert batch.x.min() == -1
    assert batch.x.max() > 0.8


def test_nine_classes_are_refused():
    with pytest.raises(ValueError, match=r"data\.num_classes=9, but the train labels"):
        demo(num_classes=9).domain("target")
