"""Write docs/pages/{methods,terms,discrepancies}: a page for every yaml of these groups in conf/, and their indexes.

    python scripts/make_docs.py            write what is new or changed, remove what has no yaml any more
    python scripts/make_docs.py --check    write nothing; exit with 1 and name the files that differ

A page is made of the yaml, the docstrings of the classes it names, docs/notes/<group>/<name>.md, and the rows of the
benchmarks' results.csv if they are there.
"""

import csv
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
NOTES = ROOT / "docs" / "notes"
PAGES = ROOT / "docs" / "pages"
DIGITS = ROOT / "benchmarks" / "digits" / "results.csv"
TERMS = ROOT / "benchmarks" / "terms" / "results.csv"

WIDE = "---\nhide: [toc]\n---\n\n"  # a table needs the room
MADE = "\n<!-- Written by `make docs` from conf/, docs/notes and the docstrings. -->\n"


class Group(NamedTuple):
    """A folder of conf/ whose files have a page each."""

    name: str
    folder: str  # below docs/pages
    overrides: tuple[str, ...]  # what composes with NAME in place of {}
    nodes: tuple[str, ...]  # of the config, which the page shows
    about: str


GROUPS = (
    Group(
        "method",
        "methods",
        ("method={}",),
        ("method", "discrepancy", "pretrain"),
        """\
# Methods

Choose one with `da train method=NAME`. The first is the lower bound, the last is the upper bound. A *sum* is an
equation: the yaml on its page is all of it. A *procedure* makes several updates a batch, or works between epochs, and
is a Python file.
""",
    ),
    Group(
        "term",
        "terms",
        ("method=source_only", "term={}"),
        ("method.terms", "method.weights", "discrepancy"),
        """\
# Terms

Add one to the sum of any method with `da train method=METHOD term=NAME`, or several with `term=[NAME,NAME]`. A sum
and never a mean: a new term does not re-weight the others. Its weight λ is `method.weights.NAME`.
""",
    ),
    Group(
        "discrepancy",
        "discrepancies",
        ("method=align", "discrepancy={}"),
        ("discrepancy",),
        """\
# Discrepancies

D(F_s, F_t): how far two clouds of features lie apart. Choose one with `da train method=align discrepancy=NAME`,
the layer with `method.terms.align.layer=features` (or `logits`, `probabilities`, a layer inside the network, or a list
of them: their distances are added up). All are computed on the batch of all processes together. The columns say
whether D(x, x) = 0, D(x, y) = D(y, x), a moved cloud makes a difference, a rotation of both or the order of the rows
none, and how many rows a domain must have: what `tests/discrepancies/test_properties.py` holds each to.
""",
    ),
)
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
    there = {path: path.read_text(encoding="utf-8") for group in GROUPS for path in (PAGES / group.folder).glob("*.md")}
    differing = sorted(path for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))
    if arguments:
        for path in differing:
            print(f"{path.relative_to(ROOT)} is not what `make docs` writes", file=sys.stderr)
        return int(bool(differing))
    for path in differing:
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    return 0


def pages() -> dict[Path, str]:
    """Return what every page should hold. ValueError for a yaml without notes, or notes without a yaml."""
    register_resolvers()
    texts: dict[Path, str] = {}
    digits, terms = read_benchmark(DIGITS), read_benchmark(TERMS)
    for group in GROUPS:
        names = [path.stem for path in sorted((CONF / group.name).glob("[!_]*.yaml"))]
        notes = {path.stem for path in (NOTES / group.name).glob("*.md")}
        if odd := sorted(set(names) ^ notes):
            raise ValueError(f"conf/{group.name} and docs/notes/{group.name} differ in {', '.join(odd)}")
        configs = {name: composed(group, name) for name in names}
        folder = PAGES / group.folder
        for name, cfg in configs.items():
            texts[folder / f"{name}.md"] = page(group, name, cfg, results(group, name, digits, terms))
        texts[folder / "index.md"] = WIDE + group.about + "\n" + INDEX[group.name](configs, digits, terms) + MADE
    return texts


def page(group: Group, name: str, cfg: DictConfig, result: str) -> str:
    """The page of one method, term or discrepancy."""
    equation, command = first_line(group, name)
    title = f'yaml title="conf/{group.name}/{name}.yaml"'
    parts = [
        f"# {name}\n\n**{escaped(equation)}**\n\n{block('bash', command)}",
        (NOTES / group.name / f"{name}.md").read_text(encoding="utf-8").strip() + "\n",
        *([result] if result else []),
        f"## Settings\n\nWrite them on the command line: `option=value`.\n\n{settings(group, cfg)}",
        "## Configuration\n\n" + block(title, yaml_text(group, name)),
        f"## Classes\n\n{classes(group, cfg)}",
    ]
    return "\n".join(parts) + MADE


def results(group: Group, name: str, digits: Rows, terms: Rows) -> str:
    """The rows of the benchmarks that are about this page."""
    if group.name == "method":
        rows = [row for row in digits if row["method"] == name]
        return benchmark(rows) if rows else ""
    method = f"source_only+{name}" if group.name == "term" else f"align-{name}"
    rows = [row for row in terms if row["method"] == method]
    if not rows:
        return ""
    baseline = [row for row in terms if row["method"] == "source_only"]
    return "\n".join(
        [
            "## Result",
            "",
            f"Added to source-only training on the demo's digits, at its default λ, nothing tuned. {UNITS} "
            "How: [Results](../results.md#every-term-once).",
            "",
            "| source_only | with it |",
            "|---:|---:|",
            f"| {percent(baseline, 'target_acc_last')} | {percent(rows, 'target_acc_last')} |",
            "",
        ]
    )


def methods_index(configs: dict[str, DictConfig], digits: Rows, terms: Rows) -> str:
    """The list of all methods, in the order of the tables of results."""
    lines = ["| method | objective | kind | trains on |", "|---|---|---|---|"]
    for name in sorted(configs, key=method_order):
        equation, _ = first_line(GROUPS[0], name)
        lines.append(f"| [{name}]({name}.md) | {escaped(equation)} | {' | '.join(kind(configs[name]))} |")
    return "\n".join(lines) + "\n" + (overview(digits) if digits else "")


def terms_index(configs: dict[str, DictConfig], digits: Rows, terms: Rows) -> str:
    """The list of all terms, and what each reads."""
    lines = ["| term | formula | reads |" + " demo, % |" * bool(terms), "|---|---|---|" + "---:|" * bool(terms)]
    for name, cfg in configs.items():
        equation, _ = first_line(GROUPS[1], name)
        objective = built(cfg).objective
        own = [term for key, term in objective.terms.items() if key != "task"]
        streams = sorted(frozenset[str]().union(*(term.streams for term in own))) or ["parameters"]
        accuracy = percent([row for row in terms if row["method"] == f"source_only+{name}"], "target_acc_last")
        cells = [f"[{name}]({name}.md)", escaped(equation), ", ".join(streams), *[accuracy] * bool(terms)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def discrepancies_index(configs: dict[str, DictConfig], digits: Rows, terms: Rows) -> str:
    """The list of all discrepancies, and what their classes promise."""
    facts = {
        "zero_at_equality": "0 if equal",
        "symmetric": "symmetric",
        "sees_shift": "sees a shift",
        "rotation_invariant": "rotation-free",
        "order_invariant": "order-free",
    }
    last = ["min. rows", *["demo, %"] * bool(terms)]
    lines = ["| discrepancy | formula | " + " | ".join([*facts.values(), *last]) + " |"]
    lines.append("|---|---|" + ":-:|" * len(facts) + "---:|" * len(last))
    for name, cfg in configs.items():
        equation, _ = first_line(GROUPS[2], name)
        discrepancy = build(cfg.discrepancy, "discrepancy")
        cells = ["yes" if getattr(discrepancy, fact) else "no" for fact in facts]
        accuracy = percent([row for row in terms if row["method"] == f"align-{name}"], "target_acc_last")
        cells += [str(discrepancy.min_rows), *[accuracy] * bool(terms)]
        lines.append(f"| [{name}]({name}.md) | {escaped(equation)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


INDEX = {"method": methods_index, "term": terms_index, "discrepancy": discrepancies_index}


def composed(group: Group, name: str) -> DictConfig:
    """The whole configuration under the defaults, with this choice."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = [override.format(name) for override in group.overrides]
        return compose("train", overrides=[*overrides, "data=toy", "net=mlp"])


def yaml_text(group: Group, name: str) -> str:
    """The configuration file."""
    return (CONF / group.name / f"{name}.yaml").read_text(encoding="utf-8")


def first_line(group: Group, name: str) -> tuple[str, str]:
    """Equation and command of the yaml's first line; `# @package` may stand above it."""
    lines = yaml_text(group, name).splitlines()
    line = lines[lines[0].startswith("# @package")]
    match = re.fullmatch(r"# (.+?) {2,}(da train .+)", line)
    if match is None:
        raise ValueError(f"conf/{group.name}/{name}.yaml must begin with '# equation  da train ...', not with {line!r}")
    return match[1], match[2]


def built(cfg: DictConfig) -> Any:
    """The method of a config."""
    return build(cfg.method, "method", net=build(cfg.net, "net"), optimizer=build(cfg.optimizer, "optimizer"))


def kind(cfg: DictConfig) -> tuple[str, str]:
    """Sum or procedure, and the streams that the method reads."""
    method = built(cfg)
    how = "sum" if isinstance(method, WeightedSum) else "procedure"
    updates = how if isinstance(method, JointMethod) else f"{how}, {len(method.updates())} updates a batch"
    first = "source, then " if cfg.pretrain is not None else ""
    return updates, first + ", ".join(sorted(method.streams))


def nodes(group: Group, cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """The parts of the config that a page shows, by their names; of a term without the task it is added to."""
    for key in group.nodes:
        node = OmegaConf.select(cfg, key)
        if node is not None:
            plain = OmegaConf.to_container(node, resolve=False)
            yield key, {k: v for k, v in plain.items() if group.name != "term" or k != "task"}


def settings(group: Group, cfg: DictConfig) -> str:
    """A table of every option, with its default."""
    lines = ["| option | default |", "|---|---|"]
    for key, node in nodes(group, cfg):
        lines += [f"| `{option}` | `{value}` |" for option, value in flat(node, key)]
    return "\n".join(lines) + "\n" if len(lines) > 2 else "It has none.\n"


def flat(node: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Dotted keys and values of a config node, as they are written on the command line."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}.{key}")
        elif not key.startswith("_"):
            is_word = value is None or isinstance(value, bool)
            yield f"{prefix}.{key}", json.dumps(value) if is_word else str(value)


def classes(group: Group, cfg: DictConfig) -> str:
    """The docstrings of the classes that the method's config names, and of the functions that those name."""
    found: dict[str, str] = {}
    for _, node in nodes(group, cfg):
        for path in targets(node):
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


def read_benchmark(file: Path) -> Rows:
    """The runs of a benchmark, none if it has not been run."""
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
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
