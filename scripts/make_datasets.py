"""Write docs/pages/datasets.md: every shipped data set, by the comments and facts of conf/data and the benchmarks.

python scripts/make_datasets.py [--check]: with `--check` the page is compared and not written.
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf" / "data"
PAGE = ROOT / "docs" / "pages" / "datasets.md"
SUITES = ROOT / "benchmarks"
OWN = ("folder", "csv", "tensors", "huggingface")  # a user's own files: docs/pages/own-data.md

HEAD = """# Shipped data sets

One yaml each in `conf/data`. Files are looked for below `data.root`, or the environment variable `DA_DATA_ROOT` where
that is `null`; if they are not there, the error says what to fetch and where to put it. Nothing is downloaded unless
its owner allows it. [Your own data](own-data.md) need no yaml.

Any option of a data set is set on the command line, such as `data.source=dslr data.target=webcam`, and a list makes
several sources: `data.source=[amazon,webcam]`.

"""
MADE = "\n*Made by `make docs` of conf/data and the tables of benchmarks.*\n"


def page() -> str:
    """The whole page."""
    names = sorted(path.stem for path in CONF.glob("[!_]*.yaml") if path.stem not in OWN)
    rows = ["| `data=` | what | classes | default task |", "|---|---|---:|---|"]
    parts = []
    for name in names:
        title, command, text = described(name)
        facts = resolved(name)
        task = f"{joined(facts['source'])} → {joined(facts['target'])}" if facts.get("source") else ""
        rows.append(f"| [{name}](#{name}) | {title} | {facts['num_classes']} | {task} |")
        parts.append(f"## {name}\n\n**{title}**\n\n```bash\n{command}\n```\n{text}{benchmark(name)}")
    return HEAD + "\n".join(rows) + "\n\n" + "\n".join(parts) + MADE


def described(name: str) -> tuple[str, str, str]:
    """Title and command of the first line, and the comment below it as a paragraph."""
    lines = (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    title, _, command = lines[0].removeprefix("# ").partition("da train")
    comment = []
    for line in lines[1:]:
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    text = re.sub(r"([*_|<])", r"\\\1", " ".join(comment).strip())
    return title.strip(), f"da train{command}", f"\n{text}\n" if text else ""


def resolved(name: str) -> dict[str, Any]:
    """The facts of a yaml, with those of the yaml it is a child of."""
    facts = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    for parent in facts.pop("defaults", []):
        facts = {**resolved(parent), **facts}
    return dict(facts)


def joined(domain: Any) -> str:
    """One domain or several as text."""
    return " + ".join(map(str, domain)) if isinstance(domain, list) else str(domain)


def benchmark(name: str) -> str:
    """The tables of the suite of the experiment of this name, without its title."""
    parts = []
    for suite in sorted(SUITES.glob("*/suite.yaml")):
        file = suite.with_name("table.md")
        if yaml.safe_load(suite.read_text(encoding="utf-8")).get("experiment") == name and file.exists():
            parts.append("\n" + file.read_text(encoding="utf-8").partition("\n")[2].strip() + "\n")
    return "".join(parts)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; return the exit status."""
    wanted = page()
    if arguments == ["--check"]:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted
        if not same:
            print(f"{PAGE.relative_to(ROOT)} is not what `make docs` writes", file=sys.stderr)
        return int(not same)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
