"""FSDD, the free spoken digits: ten digits by six speakers, each of them a domain."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
from torch import Tensor

from da.data.download import checked_sha256
from da.data.files import Files
from da.data.readers.audio import AudioReader
from da.data.records import Records, content_hashes, labelled_sha256
from da.data.rows import Rows
from da.data.shipped import OnBad, Origin, ShippedData, locate

SHA256 = "86ddeb2b19d8851a2e8ef54f00cac1fc16527bac4b343d90d94ffe50bf803ee8"
COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
ORIGIN = Origin(
    ("audio/fsdd.npz", "audio/free-spoken-digit-dataset", "audio/free-spoken-digit-dataset.zip"),
    "https://github.com/Jakobovski/free-spoken-digit-dataset as a zip archive, and put it into <root>/audio as "
    "free-spoken-digit-dataset.zip",
    f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.zip",  # CC BY-SA 4.0
)
TEST_BELOW = 5  # of the 50 times that a speaker says a digit, the first five are the official test part
RECORDING = re.compile(r"(?:^|/)recordings/(\d)_([a-z]+)_(\d+)\.wav$")


@final
class Fsdd(ShippedData):
    """Digits spoken by george, jackson, lucas, nicolas, theo and yweweler; x float32 [n, rate * seconds].

    3,000 clips of 0.14 to 2.3 s at 8 kHz, 500 a speaker (Jackson et al., doi 10.5281/zenodo.1342401). The 50 clips of
    a speaker that the owner calls test are scored, the other 450 are trained on or adapted to.

    They are read from `<root>/audio/fsdd.npz`, checked against its sha256, or from the published files.

    Args:
        input: facts about what the network reads (`net.input`): rate and seconds.
        shift: clips are moved in training by up to this part of their length.
        gain: and made louder or softer by up to so many decibels.
        settings: of `ShippedData`.

    Raises ValueError for a network that reads no sound, or another rate and no resampling (`net.input.resample`).
    """

    known_names = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    known_classes = tuple("0123456789")

    def __init__(self, input: Mapping[str, Any], shift: float = 0.1, gain: float = 6.0, **settings: Any) -> None:
        super().__init__(**settings)
        if "rate" not in input:
            raise ValueError(f"net.input={dict(input)}: this network reads no sound; net=logmel does")
        self.on_bad: OnBad = "error"  # of new files; no option, for those of the data set are all good
        self.reader = AudioReader(**input, shift=shift, gain=gain)
        self.train_transform, self.eval_transform = self.reader.train_transform, self.reader.eval_transform

    def read_records(self, name: str) -> Records:
        where = locate(ORIGIN, self.root)
        x, digits, numbers = (self._read_npz if where.suffix == ".npz" else self._read_files)(where, name)
        labels = [self.known_classes[digit] for digit in digits]
        content, digest = content_hashes([x.numpy()])
        return Records(
            x=x,
            labels=labels,
            keys=[f"{digit}_{name}_{number}" for digit, number in zip(digits, numbers, strict=True)],
            content=content,
            sha256=labelled_sha256(digest, labels),
            split=["test" if number < TEST_BELOW else "train" for number in numbers],
        )

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        """Read a sound file, or those of a folder or archive."""
        return self.read_inputs(self.reader, where, self.on_bad)

    def _read_npz(self, file: Path, name: str) -> tuple[Tensor, list[int], list[int]]:
        checked_sha256(file, SHA256, otherwise=f", or remove it and get {ORIGIN.fetch}")
        with np.load(file, allow_pickle=False) as arrays:
            audio, offsets, rate = arrays["audio"], arrays["offsets"], int(arrays["sample_rate"])
            digits, numbers = arrays["y"], arrays["index"]
            own = np.flatnonzero(arrays["domain"] == list(arrays["domain_names"]).index(name))
        own = own[np.lexsort((numbers[own], digits[own]))]
        x = self.reader.encode([audio[offsets[i] : offsets[i + 1]] for i in own], rate)
        return x, digits[own].tolist(), numbers[own].tolist()

    def _read_files(self, where: Path, name: str) -> tuple[Tensor, list[int], list[int]]:
        files = Files(where)
        found = [(match, path) for path in files.names if (match := RECORDING.search(path)) and match[2] == name]
        clips = sorted((int(match[1]), int(match[3]), path) for match, path in found)
        if not clips:
            raise ValueError(f"{where} has no files recordings/0_{name}_0.wav, ...: get {ORIGIN.fetch}")
        digits, numbers, paths = (list(column) for column in zip(*clips, strict=True))
        read = self.reader.read(files, paths)
        for path, reason in read.bad.items():
            raise ValueError(f"{where}: {path} is bad: {reason}")
        return read.x, digits, numbers
