"""Time and memory of each term by batch, width and classes: python benchmarks/speed/scale.py [--terms mmd coral ...].

Writes scale.csv and, beside it, scale.md, which is made of the csv alone: --table only makes it anew.
"""

import argparse
import csv
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from omegaconf import OmegaConf
from run import peak_bytes, seconds
from torch import Tensor

from da.build import build
from da.compose import compose_config
from da.models.network import Network
from da.terms.base import Term
from da.types import Encoded, Samples, Step

HERE = Path(__file__).parent
COLUMNS = ["term", "axis", "batch", "width", "classes", "ms", "peak_mib"]
AXES = {
    "batch": [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384],
    "width": [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192],
    "classes": [2, 8, 31, 65, 126, 345, 1000],
}
BASE = {"batch": 128, "width": 256, "classes": 31}
"""Rows of a domain, features and classes where another axis is looked at."""
MOST_SECONDS, MOST_BYTES = 1.5, 3e9
"""An axis ends where a forward and backward pass takes so long, or would hold so much by the last two sizes."""
REPEATS = 5
DISCREPANCIES = (
    *("mmd", "mmd_linear", "mmd_block", "mmd_rff", "energy", "coral", "log_coral", "frechet", "linear", "moment"),
    *("cmd", "homm", "swd", "max_swd", "sinkhorn", "exact_transport", "rsd"),
)
TERMS = (
    *("adversarial", "conditional_adversarial", "randomised_conditional_adversarial", "mdd"),
    *("lmmd", "cdd", "jmmd", "deep_jdot", "mcc", "bnm", "fbnm", "entropy", "infomax", "afn_step"),
)


class Size(NamedTuple):
    """Rows of each domain, features, classes."""

    batch: int
    width: int
    classes: int


def make(name: str, size: Size) -> list[Term]:
    """The term, or those of a sum, as `da train` builds it, for a network of such a width and so many classes."""
    words = [f"net.feature_dim={size.width}", f"data.num_classes={size.classes}", "data=toy", "net=mlp"]
    if name in DISCREPANCIES:
        chosen = ["method=align", f"discrepancy={name}"]
    else:
        chosen = ["method=source_only", f"term={name}"]
    cfg = compose_config([*words, *chosen])
    nodes = OmegaConf.to_container(cfg.method, resolve=True)["terms"]
    net: Network = build(cfg.net, "net")
    terms = [build(OmegaConf.create(node), name) for key, node in nodes.items() if key != "task"]
    for term in terms:
        term.prepare(net)
    return terms


def loss(name: str, size: Size) -> Callable[[], object]:
    """Forward and backward of the term between features that are there."""
    torch.manual_seed(0)
    terms, rows = make(name, size), torch.arange(size.batch)
    inputs = [torch.randn(size.batch, width, requires_grad=True) for width in (size.width, size.classes) * 2]

    def value(*x: Tensor) -> Tensor:
        streams = {
            role: Encoded(
                z, logits, rows % size.classes if role == "source" else rows.new_full(rows.shape, -1), rows, rows
            )
            for role, z, logits in (("source", x[0], x[1]), ("target", x[2], x[3]))
        }
        batch = {role: Samples(part.z, part.y, part.domain, part.index) for role, part in streams.items()}
        step = Step(streams, 0.5, batch, None)  # type: ignore[arg-type]
        return torch.stack([term(step) for term in terms]).sum()

    return partial(passes, value, tuple(inputs))


def passes(value: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    """Value and gradients; a term needs not read all that a network gives."""
    for x in inputs:
        x.grad = None
    value(*inputs).backward()


def sizes(axis: str) -> list[Size]:
    return [Size(**BASE | {axis: value}) for value in AXES[axis]]


def measure(name: str) -> list[dict[str, object]]:
    """A row a size, along each axis until it takes too long or holds too much."""
    rows: list[dict[str, object]] = []
    for axis in AXES:
        held: list[float] = []
        for size in sizes(axis):
            if len(held) > 1 and held[-1] ** 2 / max(held[-2], 1) > MOST_BYTES:
                break
            step = loss(name, size)
            step()
            taken = median(seconds(step, 1) for _ in range(REPEATS))
            held.append(float(peak_bytes(step)))
            shown = {"ms": f"{1e3 * taken:.3f}", "peak_mib": f"{held[-1] / 2**20:.3f}"}
            rows.append({"term": name, "axis": axis, **size._asdict(), **shown})
            if taken > MOST_SECONDS:
                break
    return rows


def exponent(rows: list[dict[str, str]], axis: str, column: str) -> float | None:
    """Slope of log cost over log size between the last size and the one at least four times smaller."""
    own = [(float(row[axis]), float(row[column])) for row in rows if row["axis"] == axis]
    last = own[-1]
    before = [point for point in own if 4 * point[0] <= last[0]]
    if not before or not before[-1][1] > 0 or not last[1] > 0:
        return None
    return math.log(last[1] / before[-1][1]) / math.log(last[0] / before[-1][0])


def table(rows: list[dict[str, str]]) -> str:
    """The table, of the csv's rows alone."""
    base = ", ".join(f"{name} {value}" for name, value in BASE.items())
    lines = [
        "# How terms grow",
        "",
        f"One forward and backward pass on one thread. At {base} (rows of each domain): time and memory. Then the "
        "exponents of both along each axis, between the largest size that was measured and one four times smaller, and "
        "the largest batch that was measured.",
        "",
        "| term | ms | MiB | time ~ batch | memory ~ batch | time ~ width | memory ~ width | time ~ classes | "
        "measured to batch |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(row["term"] for row in rows):
        own = [row for row in rows if row["term"] == name]
        at_base = next(row for row in own if row["axis"] == "batch" and int(row["batch"]) == BASE["batch"])
        powers = [("batch", "ms"), ("batch", "peak_mib"), ("width", "ms"), ("width", "peak_mib"), ("classes", "ms")]
        found = [exponent(own, *power) for power in powers]
        most = max(int(row["batch"]) for row in own)
        shown = ["" if value is None else f"{value:.1f}" for value in found]
        cells = [name, f"{float(at_base['ms']):.1f}", f"{float(at_base['peak_mib']):.1f}", *shown, f"{most:,}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--terms", nargs="+", default=[*DISCREPANCIES, *TERMS])
    parser.add_argument("--out", type=Path, default=HERE / "scale.csv")
    parser.add_argument("--table", action="store_true", help="make scale.md anew, of the csv that is there")
    arguments = parser.parse_args()
    if not arguments.table:
        torch.set_num_threads(1)
        with arguments.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for name in arguments.terms:
                writer.writerows(measure(name))
                file.flush()
                print(name, flush=True)
    text = table(read(arguments.out))
    arguments.out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
