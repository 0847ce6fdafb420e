"""Time forward and backward of each contender: python benchmarks/speed/run.py [--threads 1 2] [--out speed.csv].

Writes the csv and, beside it, table.md, which is made of the csv alone: --table only makes it anew.
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from contenders import CASES, Case, Size
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

HERE = Path(__file__).parent
COLUMNS = ["case", "size", "threads", "contender", "ms", "ratio", "ratio_low", "ratio_high", "peak_mib", "repeats"]
FLOOR = "floor"
MOST_BYTES = 6e9
ROUND_SECONDS = 0.005  # a contender is repeated until one timing takes about as long: far above the clock's resolution


def forward_and_backward(contender: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the value and the gradients of the inputs that want one."""
    value = contender(*inputs)
    wanted = [x for x in inputs if x.requires_grad]
    return [value.detach(), *torch.autograd.grad(value, wanted, torch.ones_like(value))]


def steps(case: Case, size: Size) -> dict[str, Callable[[], object]]:
    """What is timed, by name; ours first, the floor last, those that need too much memory left out."""
    torch.manual_seed(0)
    inputs = case.inputs(size)
    found: dict[str, Callable[[], object]] = {
        name: partial(forward_and_backward, contender, inputs)
        for name, contender in case.contenders.items()
        if name not in case.needs_bytes or case.needs_bytes[name](size) <= MOST_BYTES
    }
    return found | {FLOOR: torch.no_grad()(partial(case.floor, *inputs))}


def seconds(step: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def peak_bytes(step: Callable[[], object]) -> int:
    """Most memory that one call holds above what there was before it.

    The sum, in the order of time, of all that PyTorch's CPU allocator hands out and takes back, temporaries inside an
    operator included. What a BLAS library keeps for itself is not in it.
    """
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def measure(name: str, size: Size, threads: int, repeats: int) -> list[dict[str, object]]:
    """One row a contender. In each round all of them take their turn, so that a slow moment hits them alike."""
    torch.set_num_threads(threads)
    todo = steps(CASES[name], size)
    calls = {who: max(1, round(ROUND_SECONDS / min(seconds(step, 1) for _ in range(3)))) for who, step in todo.items()}
    order = list(todo)
    rounds: list[dict[str, float]] = []
    for i in range(repeats):
        turn = order[i % len(order) :] + order[: i % len(order)]
        rounds.append({who: seconds(todo[who], calls[who]) for who in turn})
    rows: list[dict[str, object]] = []
    for who in (*CASES[name].contenders, FLOOR):
        row: dict[str, object] = dict.fromkeys(COLUMNS, "")
        row |= {"case": name, "size": "x".join(map(str, size)), "threads": threads, "contender": who}
        if who in todo:
            ratios = [times[who] / times[order[0]] for times in rounds]
            low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
            row |= {"ms": f"{1e3 * statistics.median(times[who] for times in rounds):.4g}", "repeats": repeats}
            row |= {"ratio": f"{middle:.3f}", "ratio_low": f"{low:.3f}", "ratio_high": f"{high:.3f}"}
            row["peak_mib"] = f"{peak_bytes(todo[who]) / 2**20:.2f}"
        rows.append(row)
    return rows


def write(rows: list[dict[str, object]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: a table a case, made of the csv's rows alone."""
    return "\n".join(line for name, case in CASES.items() for line in _lines(name, case, rows))


def _lines(name: str, case: Case, rows: list[dict[str, str]]) -> Iterator[str]:
    others = list(case.contenders)[1:]
    yield f"## {name}\n"
    yield f"| {case.size_names} | threads | ours, ms | MiB | " + "".join(f"{o} | MiB | " for o in others) + "floor |"
    yield "|---|---:|---:|---:|" + "---:|---:|" * len(others) + "---:|"
    of_case = [row for row in rows if row["case"] == name]
    for size, threads in dict.fromkeys((row["size"], row["threads"]) for row in of_case):
        found = {r["contender"]: r for r in of_case if (r["size"], r["threads"]) == (size, threads)}
        ours = found["ours"]
        cells = [size.replace("x", " x "), threads, ours["ms"], ours["peak_mib"]]
        for other in others:
            cells += [_ratio(found[other]), found[other]["peak_mib"] or f"> {MOST_BYTES / 2**20:.0f}"]
        yield "| " + " | ".join([*cells, _ratio(found[FLOOR])]) + " |"
    yield f"\nThe floor: {case.floor_is}.\n"


def _ratio(row: dict[str, str]) -> str:
    return (
        f"{float(row['ratio']):.2f} ({float(row['ratio_low']):.2f}-{float(row['ratio_high']):.2f})"
        if row["ratio"]
        else "not run"
    )


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=HERE / "speed.csv")
    parser.add_argument("--table", action="store_true", help="make table.md of the csv that is there")
    options = parser.parse_args()
    if not options.table:
        rows: list[dict[str, object]] = []
        for name in options.cases:
            for size in CASES[name].sizes:
                for threads in options.threads:
                    found = measure(name, size, threads, options.repeats)
                    print(name, size, threads, {row["contender"]: (row["ms"], row["ratio"]) for row in found})
                    rows += found
        write(rows, options.out)
    (options.out.parent / "table.md").write_text(table(read(options.out)))


if __name__ == "__main__":
    main()
