"""Write docs/pages/methods: a page for every method in conf/method, and their index.

    python scripts/make_docs.py            write what is new or changed, remove what has no method any more
    python scripts/make_docs.py --check    write nothing; exit with 1 and name the files that differ

A page is made of the yaml, the docstrings of the classes it names, docs/method_notes/<name>.md, and the rows of
benchmarks/digits/results.csv if that file is there.
"""

import csv
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from da.build import build
from da.methods.base import JointMethod
from da.methods.weighted_sum import WeightedSum
from da.report.results import method_order
from da.report.statistics import interval
from da.settings import register_resolvers

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
NOTES = ROOT / "docs" / "method_notes"
PAGES = ROOT / "docs" / "pages" / "methods"
BENCHMARK = ROOT / "benchmarks" / "digits" / "results.csv"

MADE = "\n<!-- Written by `make docs` from conf/method, docs/method_notes and the docstrings. -->\n"
ABOUT = """\
# Methods

Choose one with `da train method=NAME`. The first is the lower bound, the last is the upper bound. A *sum* is an
equation: the yaml on its page is all of it. A *procedure* makes several updates a batch, or works between epochs, and
is a Python file.
"""
MEASURES = {
    "target_acc_last": "target, last epoch",
    "target_acc_selected": "target, selected epoch",
    "oracle_best_target_acc": "target, best epoch (ORACLE)",
    "source_acc_last": "source, last epoch",
}
UNITS = "Test accuracies in %, mean ± 95 % interval over seeds (number of seeds)."

Rows = list[dict[str, str]]


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them with `--check`; return the exit status."""
    if arguments not in ([], ["--check"]):
        print(f"error: make_docs.py takes --check or nothing, got {' '.join(arguments)}", file=sys.stderr)
        return 2
    wanted = pages()
    there = {path: path.read_text(encoding="utf-8") for path in PAGES.glob("*.md")}
    differing = sorted(path for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))
    if arguments:
        for path in differing:
            print(f"{path.relative_to(ROOT)} is not what `make docs` writes", file=sys.stderr)
        return int(bool(differing))
    PAGES.mkdir(parents=True, exist_ok=True)
    for path in differing:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 0


def pages() -> dict[Path, str]:
    """Return what every page should hold. ValueError for a method without notes, or notes without a method."""
    names = [path.stem for path in sorted((CONF / "method").glob("[!_]*.yaml"))]
    notes = {path.stem for path in NOTES.glob("*.md")}
    if missing := sorted(set(names) ^ notes):
        raise ValueError(f"conf/method and docs/method_notes do not have the same names: {', '.join(missing)}")
    register_resolvers()
    rows = read_benchmark()
    texts = {PAGES / f"{name}.md": page(name, [row for row in rows if row["method"] == name]) for name in names}
    return texts | {PAGES / "index.md": index(names, rows)}


def page(name: str, rows: Rows) -> str:
    """The page of one method."""
    cfg = composed(name)
    equation, command = first_line(name)
    parts = [
        f"# {name}\n\n**{escaped(equation)}**\n\n{block('bash', command)}",
        (NOTES / f"{name}.md").read_text(encoding="utf-8").strip() + "\n",
        *([benchmark(rows)] if rows else []),
        f"## Settings\n\nWrite them on the command line: `option=value`.\n\n{settings(cfg)}",
        "## Configuration\n\n" + block(f'yaml title="conf/method/{name}.yaml"', yaml_text(name)),
        f"## Classes\n\n{classes(cfg)}",
    ]
    return "\n".join(parts) + MADE


def index(names: list[str], rows: Rows) -> str:
    """The list of all methods, in the order of the tables of results."""
    lines = ["| method | objective | kind | trains on |", "|---|---|---|---|"]
    for name in sorted(names, key=method_order):
        equation, _ = first_line(name)
        lines.append(f"| [{name}]({name}.md) | {escaped(equation)} | {' | '.join(kind(composed(name)))} |")
    table = "\n".join(lines)
    return f"{ABOUT}\n{table}\n{overview(rows) if rows else ''}{MADE}"


def composed(name: str) -> DictConfig:
    """The whole configuration under the defaults, with this method."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=[f"method={name}", "data=toy", "net=mlp"])


def yaml_text(name: str) -> str:
    """The configuration file of a method."""
    return (CONF / "method" / f"{name}.yaml").read_text(encoding="utf-8")


def first_line(name: str) -> tuple[str, str]:
    """Equation and command of the yaml's first line."""
    line = yaml_text(name).splitlines()[0]
    match = re.fullmatch(r"# (.+?) {2,}(da train .+)", line)
    if match is None:
        raise ValueError(f"conf/method/{name}.yaml must begin with '# equation  da train ...', it begins with {line!r}")
    return match[1], match[2]


def kind(cfg: DictConfig) -> tuple[str, str]:
    """Sum or procedure, and the streams that the method reads."""
    method = build(cfg.method, "method", net=build(cfg.net, "net"), optimizer=build(cfg.optimizer, "optimizer"))
    how = "sum" if isinstance(method, WeightedSum) else "procedure"
    updates = how if isinstance(method, JointMethod) else f"{how}, {len(method.updates())} updates a batch"
    first = "source, then " if cfg.pretrain is not None else ""
    return updates, first + ", ".join(sorted(method.streams))


def settings(cfg: DictConfig) -> str:
    """A table of every option of the method, with its default."""
    lines = ["| option | default |", "|---|---|"]
    for group in ("method", "discrepancy", "pretrain"):
        if cfg.get(group) is not None:
            node = OmegaConf.to_container(cfg[group], resolve=False)
            lines += [f"| `{key}` | `{value}` |" for key, value in flat(node, group)]
    return "\n".join(lines) + "\n"


def flat(node: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Dotted keys and values of a config node, as they are written on the command line."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}.{key}")
        elif not key.startswith("_"):
            is_word = value is None or isinstance(value, bool)
            yield f"{prefix}.{key}", json.dumps(value) if is_word else str(value)


def classes(cfg: DictConfig) -> str:
    """The docstrings of the classes that the method's config names, and of the functions that those name."""
    found: dict[str, str] = {}
    for group in ("method", "discrepancy"):
        for path in targets(OmegaConf.to_container(cfg[group], resolve=False) if cfg.get(group) is not None else {}):
            thing = get_object(path)
            found[path] = inspect.getdoc(thing) or ""
            module = inspect.getmodule(thing)
            for word in re.findall(r"`(\w+)`", found[path]):
                function = getattr(module, word, None)
                if inspect.isfunction(function):
                    found[f"{function.__module__}.{word}"] = inspect.getdoc(function) or ""
    return "\n".join(f"### {path}\n\n{block('text', text)}" for path, text in found.items())


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` below a config node."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)


def read_benchmark() -> Rows:
    """The runs of the digits benchmark, none if it has not been run."""
    if not BENCHMARK.is_file():
        return []
    with BENCHMARK.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def benchmark(rows: Rows) -> str:
    """What this method reached, a line for each task."""
    lines = [
        "| task | " + " | ".join(MEASURES.values()) + " | seconds a run |",
        "|---|" + "---:|" * (len(MEASURES) + 1),
    ]
    for task in tasks(rows):
        of_task = [row for row in rows if task_of(row) == task]
        cells = [percent(of_task, key) for key in MEASURES]
        lines.append(f"| {task} | {' | '.join(cells)} | {mean(of_task, 'seconds')} |")
    return "\n".join(["## Benchmark", "", f"{UNITS} How: [Results](../results.md#the-benchmark).", "", *lines, ""])


def overview(rows: Rows) -> str:
    """Target accuracy after the last epoch of every method on every task."""
    all_tasks = tasks(rows)
    lines = ["| method | " + " | ".join(all_tasks) + " |", "|---|" + "---:|" * len(all_tasks)]
    for name in sorted({row["method"] for row in rows}, key=method_order):
        cells = [
            percent([row for row in rows if row["method"] == name and task_of(row) == task], "target_acc_last")
            for task in all_tasks
        ]
        lines.append(f"| [{name}]({name}.md) | {' | '.join(cells)} |")
    text = f"Target accuracy after the last epoch. {UNITS} How: [Results](../results.md#the-benchmark)."
    return "\n".join(["", "## Benchmark: digits", "", text, "", *lines, ""])


def tasks(rows: Rows) -> list[str]:
    """The tasks of these rows, by alphabet."""
    return sorted({task_of(row) for row in rows})


def task_of(row: dict[str, str]) -> str:
    """The pair of domains as text."""
    return f"{row['source']} → {row['target']}"


def percent(rows: Rows, key: str) -> str:
    """Mean ± interval (number of seeds) of a column of fractions, in percent."""
    values = [100 * float(row[key]) for row in rows if row.get(key)]
    if not values:
        return "-"
    cell = interval(values)
    spread = "" if cell.half_width is None else f" ± {cell.half_width:.1f}"
    return f"{cell.mean:.1f}{spread} ({cell.n})"


def mean(rows: Rows, key: str) -> str:
    """Rounded mean of a column."""
    values = [float(row[key]) for row in rows if row.get(key)]
    return f"{interval(values).mean:.0f}" if values else "-"


def block(language: str, text: str) -> str:
    """A fenced code block."""
    return f"```{language}\n{text.strip()}\n```\n"


def escaped(text: str) -> str:
    """Text in which Markdown sees no table, emphasis or link."""
    return re.sub(r"([|*_\[\]\\])", r"\\\1", text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
