"""Time a step of training beside a bare PyTorch loop: python benchmarks/speed/step.py [--repeats 5] [--out step.csv].

DA_DATA_ROOT names the folder of the data. Writes the csv and, beside it, step.md, which is made of the csv alone:
--table only makes it anew.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor

from da.assemble import assemble
from da.compose import compose_config
from da.cost import Meter
from da.data.base import DomainData
from da.data.rows import Draw
from da.discrepancies.mmd import Mmd
from da.models.network import Network
from da.stage import fit, quiet

HERE = Path(__file__).parent
COLUMNS = ["case", "threads", "contender", "ms", "ratio", "ratio_low", "ratio_high", "repeats"]
OURS, BARE = "da train", "bare loop"
COMMON = ("net.batch_norm=joint", "trainer.max_epochs=1")
CASES = {
    "LeNet 64+64, source_only": (60, "experiment=digits_mnist_usps", "method=source_only"),
    "LeNet 64+64, mmd": (60, "experiment=digits_mnist_usps", "method=mmd"),
    "MLP on cached features 32+32, source_only": (600, "experiment=office_caltech10", "method=source_only"),
    "MLP on cached features 32+32, mmd": (600, "experiment=office_caltech10", "method=mmd"),
}
OFFICE = ("data.source=amazon", "data.target=webcam")
ASKED = {"LeNet": 1.05, "MLP": 1.5}
"""At most so many times the bare loop, by the first word of the case."""
FIRST_STEP = """
import sys, time
from da.callbacks.selection import Scores
def stop(*_): print("first step", time.time()); sys.stdout.flush(); import os; os._exit(0)
Scores.on_train_batch_end = stop
from da.cli import main
sys.argv = ["da", "train", *sys.argv[1:]]
main()
"""


def prepared(case: str) -> tuple[int, DictConfig]:
    """Steps of a round, and the configuration."""
    steps, *words = CASES[case]
    office = OFFICE if "experiment=office_caltech10" in words else ()
    return steps, compose_config([*words, *office, *COMMON, f"data.steps_per_epoch={steps}"])


def ours(cfg: DictConfig, net: Network, data: DomainData) -> float:
    """Milliseconds a step of what `da train` runs: loading, logging, monitor and all; validation is left out."""
    with tempfile.TemporaryDirectory() as folder:
        cfg.run_dir = folder
        fitted = fit(cfg, "method", net, data, Path(folder), cfg.selection_metric, Meter())
        rate = fitted.throughput.samples_per_second
    assert rate is not None
    return 1e3 * rows_a_step(data) / rate


def rows_a_step(data: DomainData) -> int:
    return sum(data.batch_size[stream] for stream in data.streams)


def bare(cfg: DictConfig, net: Network, data: DomainData, steps: int) -> float:
    """Milliseconds a step of the loop that one would write: the same rows, network, loss and optimizer."""
    x = {name: data.train_set(name)[Draw(torch.arange(len(data.train_set(name))), 0)] for name in sorted(data.streams)}
    y, mmd = x["source"].y, Mmd()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    size = data.batch_size["source"]
    net.train()

    def step(rows: dict[str, Tensor]) -> None:
        z, logits = net(torch.cat([x[name].x.index_select(0, rows[name]) for name in x]))
        loss = F.cross_entropy(logits[:size], y[rows["source"]])
        if len(x) > 1:
            loss = loss + mmd(z[:size], z[size:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    start = 0.0
    for i in range(steps):
        if i == 1:  # the first one is left out, as in ours
            start = time.perf_counter()
        step({name: torch.randint(len(x[name].y), (data.batch_size[name],)) for name in x})
    return 1e3 * (time.perf_counter() - start) / (steps - 1)


def times(case: str, repeats: int, steps: int | None = None) -> dict[str, list[float]]:
    """Milliseconds a step of both in every round; the order turns, and the first round does not count."""
    planned, cfg = prepared(case)
    if steps is not None:
        cfg.data.steps_per_epoch = steps
    quiet()
    pl.seed_everything(0, verbose=False)
    data, net = assemble(cfg)
    found: dict[str, list[float]] = {OURS: [], BARE: []}
    for turn in range(repeats + 1):
        calls: dict[str, Callable[[], float]] = {
            OURS: lambda: ours(cfg, net, data),
            BARE: lambda: bare(cfg, net, data, steps or planned),
        }
        for name in (OURS, BARE) if turn % 2 == 0 else (BARE, OURS):
            if not data.streams:
                data.load(frozenset({"source"} if "source_only" in case else {"source", "target"}))
            value = calls[name]()
            if turn:
                found[name].append(value)
    return found


def rows_of(case: str, threads: int, found: dict[str, list[float]]) -> list[dict[str, str]]:
    ratios = [a / b for a, b in zip(found[OURS], found[BARE], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    shared = {"case": case, "threads": str(threads), "repeats": str(len(ratios))}
    ratio = {"ratio": f"{middle:.4f}", "ratio_low": f"{low:.4f}", "ratio_high": f"{high:.4f}"}
    return [
        {**shared, "contender": OURS, "ms": f"{statistics.median(found[OURS]):.3f}", **ratio},
        {**shared, "contender": BARE, "ms": f"{statistics.median(found[BARE]):.3f}", **dict.fromkeys(ratio, "1")},
    ]


def first_step(repeats: int) -> list[dict[str, str]]:
    """Milliseconds from the command to the end of the first step, on the shipped data; beside `import torch` alone."""
    found: dict[str, list[float]] = {OURS: [], "import torch": []}
    words = ["data=digits_demo", "method=mmd", "figures=none"]
    for _ in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            start = time.time()
            command = [sys.executable, "-c", FIRST_STEP, *words, f"runs={folder}"]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found[OURS].append(1e3 * (float(said.split("first step")[1]) - start))
            start = time.time()
            subprocess.run([sys.executable, "-c", "import torch"], check=True)
            found["import torch"].append(1e3 * (time.time() - start))
    ratios = [a / b for a, b in zip(found[OURS][1:], found["import torch"][1:], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    shared = {"case": "to the first step", "threads": "1", "repeats": str(len(ratios))}
    return [
        {
            **{**shared, "contender": name, "ms": f"{statistics.median(values[1:]):.0f}"},
            **(
                {"ratio": f"{middle:.4f}", "ratio_low": f"{low:.4f}", "ratio_high": f"{high:.4f}"}
                if name == OURS
                else {}
            ),
        }
        for name, values in found.items()
    ]


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def table(rows: list[dict[str, str]]) -> str:
    """The table, of the csv's rows alone."""
    lines = [
        "# Cost of a step",
        "",
        "| case | threads | da train [ms] | bare loop [ms] | ratio | asked for |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for mine, other in zip(rows[::2], rows[1::2], strict=True):
        asked = ASKED.get(mine["case"].split()[0])
        bound = f"≤ {asked:g}" if asked else "≤ 8,000 ms"
        ratio = "{:.2f} [{:.2f}, {:.2f}]".format(*(float(mine[key]) for key in ("ratio", "ratio_low", "ratio_high")))
        where = "" if asked else f" ({other['contender']})"
        lines.append(
            f"| {mine['case']} | {mine['threads']} | {mine['ms']} | {other['ms']}{where} | {ratio} | {bound} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=HERE / "step.csv")
    parser.add_argument("--table", action="store_true", help="make step.md anew, of the csv that is there")
    arguments = parser.parse_args()
    if not arguments.table:
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)
        rows = [row for case in CASES for row in rows_of(case, 1, times(case, arguments.repeats))]
        rows += first_step(arguments.repeats)
        with arguments.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    text = table(read(arguments.out))
    arguments.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
