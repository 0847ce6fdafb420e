"""Put the generated tables into README.md: python scripts/make_readme.py [--check]."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def filled(text: str) -> str:
    """The text with every `<!-- table:NAME -->` section holding the first table of benchmarks/NAME/table.md."""

    def table(match: re.Match[str]) -> str:
        page = (ROOT / "benchmarks" / match["name"] / "table.md").read_text()
        lines = "\n".join(line for line in page.splitlines() if line.startswith("|"))
        return f"<!-- table:{match['name']} -->\n{lines}\n<!-- /table:{match['name']} -->"

    return re.sub(r"<!-- table:(?P<name>\w+) -->.*?<!-- /table:(?P=name) -->", table, text, flags=re.DOTALL)


def main() -> int:
    """Write README.md, or with --check say whether it is up to date."""
    path = ROOT / "README.md"
    text = path.read_text()
    if "--check" in sys.argv:
        if filled(text) != text:
            print("README.md differs from the tables: run python scripts/make_readme.py", file=sys.stderr)
            return 1
        return 0
    path.write_text(filled(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
