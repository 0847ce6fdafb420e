"""The reader that a network needs."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from da.data.readers.base import Reader

READERS = {"size": "images.ImageReader", "rate": "audio.AudioReader", "tokenizer": "text.TextReader"}
"""By the key of `net.input` that only this kind of network has."""


def make_reader(input: Mapping[str, Any], **options: Any) -> Reader:
    """Return the reader of files for a network with these facts about its input (`net.input`).

    Raises ValueError for a network that reads no files: rows of numbers come from tables and arrays.
    """
    for key, place in READERS.items():
        if key in input:
            module, name = place.split(".")
            reader: Reader = getattr(import_module(f"da.data.readers.{module}"), name)(**input, **options)
            return reader
    raise ValueError(
        f"net.input={dict(input)}: this network reads no files, but rows of numbers. Choose another net (images: "
        "lenet, torchvision, timm; sound: logmel; text: transformer), or other data (data=csv, data=tensors)"
    )
