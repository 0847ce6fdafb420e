"""Time what feeds a training: python benchmarks/speed/feeding.py [--repeats 6] [--out feeding.csv].

Writes the csv and, beside it, feeding.md, which is made of the csv alone: --table only makes it anew.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from da.data.folder import Folder
from da.data.images import ToNetwork
from da.data.record_data import RecordData
from da.data.records import Records
from da.models.lenet import LeNet
from da.models.network import Bottleneck, Network

HERE = Path(__file__).parent
COLUMNS = ["case", "contender", "rows_per_s", "ratio", "ratio_low", "ratio_high", "repeats"]
STREAMS = frozenset({"source", "target"})
BATCH = 64
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Rates = dict[str, float]
"""Rows a second, by contender, in one round; the first one is the measure of the others."""


class InMemory(RecordData):
    """Two domains of random rows; `make(generator)` gives those of one."""

    def __init__(self, make: Callable[[torch.Generator], Tensor], transform: ToNetwork | None = None) -> None:
        batch_size = {"source": BATCH, "target": BATCH}
        super().__init__("source", "target", classes=tuple("0123456789"), val_fraction=0.0, batch_size=batch_size)
        self.make, self.train_transform, self.eval_transform = make, transform, transform

    def read_records(self, name: str) -> Records:
        x = self.make(torch.Generator().manual_seed(int(name == "target")))
        keys = [f"{name} {i}" for i in range(len(x))]
        content = np.arange(len(x), dtype=np.uint64) + (name == "target") * len(x)
        return Records(x, [str(i % 10) for i in range(len(x))], keys, content, name)


def digits(rows: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randint(0, 256, (rows, 28, 28), dtype=torch.uint8, generator=generator)


def features(rows: int) -> Callable[[torch.Generator], Tensor]:
    return lambda generator: torch.randn(rows, 512, generator=generator)


class RowByRow(Dataset[Any]):
    """The usual data set: one row at a time through PIL and torchvision."""

    def __init__(self, x: Tensor) -> None:
        self.x, self.y = x.numpy(), torch.arange(len(x)) % 10
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.transform(Image.fromarray(self.x[i])), self.y[i]


def loaded(data: RecordData, streams: frozenset[str] = STREAMS) -> RecordData:
    data.load(streams)
    return data


def seconds(batches: Any, count: int | None = None) -> float:
    """Time to draw so many batches, or all, from the beginning."""
    start = time.perf_counter()
    for _ in islice(iter(batches), count):
        pass
    return time.perf_counter() - start


def tensors(rows: int, batches: int) -> Iterator[Rates]:
    """Images that fit in memory, against one row at a time."""
    data = loaded(InMemory(digits(rows), ToNetwork(1, 28)))
    other = DataLoader(RowByRow(digits(rows)(torch.Generator())), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        ours = 2 * BATCH * batches / seconds(data.train_dataloader(), batches)
        yield {"ours": ours, "row by row": BATCH * batches / seconds(other, batches)}


def vectors(rows: int, batches: int) -> Iterator[Rates]:
    """Features that fit in memory, against PyTorch's TensorDataset."""
    data = loaded(InMemory(features(rows)))
    plain = TensorDataset(features(rows)(torch.Generator()), torch.arange(rows) % 10)
    other = DataLoader(plain, batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        ours = 2 * BATCH * batches / seconds(data.train_dataloader(), batches)
        yield {"ours": ours, "TensorDataset": BATCH * batches / seconds(other, batches)}


def lenet_step(rows: int, batches: int) -> Iterator[Rates]:
    """Feeding 64 + 64 digits, against the training step of a LeNet on them: the ratio is feeding's share."""
    data = loaded(InMemory(digits(rows), ToNetwork(1, 28)))
    net = Network(LeNet(1, 28), 500, 10, bottleneck=Bottleneck)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, nesterov=True)
    batch = next(iter(data.train_dataloader()))[0]
    x, y = torch.cat([batch["source"].x, batch["target"].x]), batch["source"].y

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x)[1][:BATCH], y).backward()
        optimizer.step()

    while True:
        fed = 2 * BATCH * batches / seconds(data.train_dataloader(), batches)
        yield {"feeding": fed, "training step": 2 * BATCH * batches / seconds(step() for _ in range(batches))}


def image_folder(images: int, batches: int) -> Iterator[Rates]:
    """The second epoch of a folder of JPEGs, against the first, which decodes them, and torchvision's ImageFolder."""
    augment = [transforms.Resize((256, 256)), transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    usual = transforms.Compose([*augment, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    with tempfile.TemporaryDirectory() as place:
        for seed, name in enumerate(("source", "target")):
            write_photos(Path(place) / name, images // 2, seed)
        other = DataLoader(ImageFolder(f"{place}/source", usual), batch_size=32, shuffle=True, drop_last=True)
        for i in range(10**9):
            with cache_in(f"{place}/cache {i}"):
                data, rates = folder(place), {}
                for contender in ("first epoch", "second epoch", "next run's first epoch"):
                    data = data if contender == "second epoch" else folder(place)
                    start = time.perf_counter()
                    loaded(data)
                    fed = sum(len(stream.y) for batch, *_ in data.train_dataloader() for stream in batch.values())
                    rates[contender] = fed / (time.perf_counter() - start)
                whole = 32 * len(other)
                yield {"second epoch": rates.pop("second epoch"), **rates, "ImageFolder": whole / seconds(other)}


def folder(place: str) -> Folder:
    facts = {"channels": 3, "size": 224, "mean": MEAN, "std": STD}
    batch_size = {"source": 32, "target": 32}
    return Folder("source", "target", facts, root=place, num_classes=2, val_fraction=0.0, batch_size=batch_size)


@contextmanager
def cache_in(place: str) -> Iterator[None]:
    before = os.environ.get("DA_CACHE")
    os.environ["DA_CACHE"] = place
    try:
        yield
    finally:
        os.environ.pop("DA_CACHE") if before is None else os.environ.update(DA_CACHE=before)


def write_photos(place: Path, count: int, seed: int) -> None:
    """JPEGs of 500 x 375 and about 75 kB, as photos of that size are, in two classes."""
    random = np.random.default_rng(seed)
    for i in range(count):
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC), dtype=np.float32)
        grainy = (smooth + random.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = place / f"class {i % 2}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grainy).save(path, quality=90)


CASES: dict[str, tuple[Callable[[int, int], Iterator[Rates]], int, int]] = {
    "tensors": (tensors, 60000, 200),
    "vectors": (vectors, 60000, 200),
    "lenet step": (lenet_step, 60000, 50),
    "image folder": (image_folder, 256, 0),
}
"""What gives the rates of one round after the other, its number of rows a domain, and of batches a round."""


def measure(name: str, repeats: int, rows: int | None = None, batches: int | None = None) -> list[dict[str, object]]:
    """One csv row a contender: its rate, and the first one's over it in the same round, median and quartiles.

    Of "lenet step" it is the time for feeding over the time for feeding and the step.
    """
    torch.set_num_threads(1)
    case, usual_rows, usual_batches = CASES[name]
    rounds = list(islice(case(rows or usual_rows, batches or usual_batches), 1, repeats + 1))  # the first warms up
    found = []
    for contender in rounds[0]:
        ratios = [next(iter(rates.values())) / rates[contender] for rates in rounds]
        if name == "lenet step":
            ratios = [rates[contender] ** -1 / sum(rate**-1 for rate in rates.values()) for rates in rounds]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        rate = f"{statistics.median(rates[contender] for rates in rounds):.0f}"
        values = (name, contender, rate, f"{middle:.4f}", f"{low:.4f}", f"{high:.4f}", repeats)
        found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def table(rows: list[dict[str, str]]) -> str:
    """Markdown, made of the csv's rows alone."""
    lines = ["| case | contender | rows/s | ratio | quartiles |", "|---|---|---:|---:|---:|"]
    for row in rows:
        share = row["case"] == "lenet step"
        low, middle, high = (
            f"{100 * float(row[key]):.1f} %" if share else f"{float(row[key]):.1f}"
            for key in ("ratio_low", "ratio", "ratio_high")
        )
        lines.append(
            f"| {row['case']} | {row['contender']} | {int(row['rows_per_s']):,} | {middle} | {low} to {high} |"
        )
    return "\n".join(lines) + "\n"


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=HERE / "feeding.csv")
    parser.add_argument("--table", action="store_true", help="make feeding.md of the csv that is there")
    options = parser.parse_args()
    if not options.table:
        rows = [row for name in options.cases for row in measure(name, options.repeats)]
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    options.out.with_suffix(".md").write_text(table(read(options.out)))


if __name__ == "__main__":
    main()
