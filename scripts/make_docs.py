"""Write docs/pages/{methods,terms,discrepancies}: a page for every yaml of these groups in conf/, and their indexes.

    python scripts/make_docs.py            write what is new or changed, remove what has no yaml any more
    python scripts/make_docs.py --check    write nothing; exit with 1 and name the files that differ

A page is made of the yaml, the docstrings of the classes it names, docs/notes/<group>/<name>.md, and the rows of the
benchmarks' results.csv if they are there.
"""

import sys
from pathlib import Path

from docs_configs import (
    CONF,
    GROUPS,
    Group,
    block,
    built,
    classes,
    composed,
    escaped,
    first_line,
    kind,
    settings,
    yaml_text,
)
from docs_tables import UNITS, Rows, benchmark, overview, percent
from omegaconf import DictConfig

from da.benchmark.suite import read_rows
from da.build import build
from da.report.results import method_order
from da.settings import register_resolvers

ROOT = Path(__file__).resolve().parents[1]
NOTES = ROOT / "docs" / "notes"
PAGES = ROOT / "docs" / "pages"
DIGITS = ROOT / "benchmarks" / "digits" / "results.csv"
TERMS = ROOT / "benchmarks" / "terms" / "results.csv"

WIDE = "---\nhide: [toc]\n---\n\n"  # a table needs the room
MADE = "\n<!-- Written by `make docs` from conf/, docs/notes and the docstrings. -->\n"


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
    digits, terms = read_rows(DIGITS), read_rows(TERMS)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
