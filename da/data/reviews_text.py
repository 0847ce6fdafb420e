"""Amazon product reviews as raw text: four domains, good or bad."""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

from da.data.download import checked_sha256
from da.data.readers.text import TextReader
from da.data.records import Records, content_hashes, labelled_sha256
from da.data.rows import Rows
from da.data.shipped import OnBad, Origin, ShippedData, locate

SHA256 = "87c78e665c53530713fab3e166e7a9340d9c2f133be784decc412d9aea7fc4d7"
ORIGIN = Origin(
    ("text/reviews_text_fdumtl.jsonl.gz", "text/fdu-mtl"),
    "the folder data/fdu-mtl of https://github.com/ccsasuke/man and put it into <root>/text",
)
SUFFIX = {"train": "train", "test": "test", "unlabeled": "unlabel"}
"""Of the published files, by the part of the data."""


class Review(NamedTuple):
    """One text."""

    part: str  # "train", "test" or "unlabeled"
    label: str  # "" where it has none
    text: str


@final
class ReviewsText(ShippedData):
    """Books, dvd, electronics and kitchen_housewares; x are tokens [n, max_length].

    The reviews of Blitzer, Dredze & Pereira (2007) in the parts of Liu, Qiu & Huang (2017, FDU-MTL): 1,600 texts of a
    domain to train on (electronics 1,598) and 400 to score. The other 2,000 texts of a domain have no label and look
    different: they are prose, the former are lower-cased and cut into words.

    Args:
        input: facts about what the network reads (`net.input`): tokenizer and max_length.
        unlabeled: the target is adapted to on its texts without labels too.
        settings: of `ShippedData`.

    Raises ValueError for a network that reads no text.
    """

    known_names = ("books", "dvd", "electronics", "kitchen_housewares")
    known_classes = ("negative", "positive")

    def __init__(self, input: Mapping[str, Any], unlabeled: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        if "tokenizer" not in input:
            raise ValueError(f"net.input={dict(input)}: this network reads no text; net=transformer does")
        self.unlabeled = unlabeled
        self.on_bad: OnBad = "error"  # of new files; no option, for those of the data set are all good
        self.reader = TextReader(**input)

    def read_records(self, name: str) -> Records:
        where = locate(ORIGIN, self.root)
        read = _read_lines if where.is_file() else _read_tasks
        parts = {"train", "test", *(["unlabeled"] if self.unlabeled and name == self.target else [])}
        reviews = {f"{review.part}/{i}": review for i, review in enumerate(read(where, name)) if review.part in parts}
        x = self.reader.encode([review.text for review in reviews.values()])
        labels = [review.label for review in reviews.values()]
        content, digest = content_hashes([part.numpy() for part in x.values()])
        return Records(
            x=x,
            labels=labels,
            keys=list(reviews),
            content=content,
            sha256=labelled_sha256(digest, labels),
            split=["test" if review.part == "test" else "train" for review in reviews.values()],
        )

    def inputs(self, where: str) -> tuple[Rows, list[str]]:
        """Read a .txt file, or those of a folder or archive, one text each."""
        return self.read_inputs(self.reader, where, self.on_bad)


def _read_lines(file: Path, name: str) -> Iterator[Review]:
    checked_sha256(file, SHA256, otherwise=f", or remove it and get {ORIGIN.fetch}")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            if line["domain"] == name:
                label = "" if line["label"] is None else ReviewsText.known_classes[line["label"]]
                yield Review(line["split"], label, line["text"])


def _read_tasks(folder: Path, name: str) -> Iterator[Review]:
    """Read files that have a label, 0 or 1, a tab and a text in each line; without labels a text only."""
    for part, suffix in SUFFIX.items():
        file = folder / f"{name}.task.{suffix}"
        if not file.is_file():
            raise FileNotFoundError(f"there is no {file}: get {ORIGIN.fetch}")
        content = file.read_text(encoding="utf-8", errors="replace")  # one of dvd.task.train has a byte that is none
        for number, line in enumerate(content.split("\n"), start=1):
            label, tab, text = line.partition("\t") if part != "unlabeled" else ("", "", line)
            if not text.strip() and not line.strip():
                continue
            if part != "unlabeled" and (not tab or label not in ("0", "1")):
                raise ValueError(f"line {number} of {file} is no label 0 or 1, a tab and a text: {line[:40]!r}")
            yield Review(part, ReviewsText.known_classes[int(label)] if label else "", text.strip())
