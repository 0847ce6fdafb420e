"""What a sweep over DomainNet takes on GPUs, by a model: python benchmarks/speed/price.py. Writes price.md.

Nothing here was run on a GPU. Steps and batches are those of benchmarks/domainnet/suite.yaml, multiply-accumulates are
counted; how fast a GPU is, and what it costs, are assumptions, named below.
"""

import csv
import math
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet101

from da.benchmark.suite import Suite, find_suite

HERE = Path(__file__).parent
METHODS, SEEDS = 10, 3
GPUS = (1, 8, 64)
IMAGES_PER_SECOND = {"32 bits (TF32)": 400, "16 bits (bf16-mixed)": 1300}
"""Assumed: training a ResNet-101 at 224 pixels on one data-centre GPU of the class of an A100."""
EURO_PER_HOUR = 2.0
"""Assumed: renting such a GPU."""
IMAGES_A_STEP = {"mcd": 32 + 64 + 4 * 32}
"""Images that are passed forward and backward in a step: MCD's three updates, the last one four times."""


def images(suite: Suite) -> dict[str, float]:
    """Images passed forward and backward in a run, in millions, by row of the suite."""
    found = {}
    for name, row in suite.methods.items():
        words = dict(word.partition("=")[::2] for word in row.options)
        if "data.steps_per_epoch" in words:
            steps = int(words["data.steps_per_epoch"]) * int(words["trainer.max_epochs"])
            found[name] = steps * IMAGES_A_STEP.get(name, 64) / 1e6
    return found


def macs() -> int:
    """Multiply-accumulates of a ResNet-101 for an image of 224 pixels."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        resnet101()(torch.empty(1, 3, 224, 224))
    return int(counter.get_total_flops()) // 2


def fed() -> float:
    """Images a second that one core feeds from the cache of decoded images, as feeding.csv has it."""
    rows = csv.DictReader((HERE / "feeding.csv").read_text().splitlines())
    return next(float(row["rows_per_s"]) for row in rows if row["contender"] == "second epoch")


def table() -> str:
    suite = find_suite("domainnet")
    found = images(suite)
    tasks, mean = len(suite.tasks), sum(found.values()) / len(found)
    runs = tasks * METHODS * SEEDS
    each = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
    lines = [
        f"{tasks} tasks x {METHODS} methods x {SEEDS} seeds are {runs} runs. Millions of images forward and backward a "
        f"run, by the published recipes: {each}; {mean:.1f} in the mean. An image takes {macs() / 1e9:.1f} billion "
        f"multiply-accumulates forward, three times that with the backward pass: {runs * mean * 1e6 * macs() * 6:.1e} "
        "floating-point operations in all.",
        "",
        "| precision | images/s on a GPU (assumed) | hours a run | GPUs | days | GPU hours | € (assumed price) | "
        "cores that feed them |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for precision, rate in IMAGES_PER_SECOND.items():
        hours = mean * 1e6 / rate / 3600
        for gpus in GPUS:
            # A run on each GPU: no run is spread over several.
            days = math.ceil(runs / gpus) * hours / 24
            cores = math.ceil(rate / fed()) * gpus
            lines.append(
                f"| {precision} | {rate} | {hours:.1f} | {gpus} | {days:.1f} | {runs * hours:,.0f} | "
                f"{runs * hours * EURO_PER_HOUR:,.0f} | {cores} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "price.md").write_text(table())
    print(table())
