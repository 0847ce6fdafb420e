"""A suite: one yaml that says which runs there are, what is compared, and with what."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

SUITE_FILE = "suite.yaml"
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
"""In a checkout; an installed wheel has no suites."""
KEYS = frozenset(
    {"title", "note", "experiment", "options", "tasks", "methods", "seeds", "search", "metrics", "columns"}
    | {"published", "expected"}
)
TOLERANCE = 1.0
"""Points by which a mean may always differ: another machine sums in another order, and rows near the border change
sides."""

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Row:
    """One row of the table: options, in which `{other}` is the last checkpoint of that row's run of the same seed.

    `once`: it is trained once for each seed and not for each task; other rows start from it.
    """

    options: tuple[str, ...]
    once: bool = False


@dataclass(frozen=True)
class Suite:
    """What a suite.yaml says."""

    name: str
    folder: Path
    title: str
    options: tuple[str, ...]
    tasks: Mapping[str, tuple[str, ...]]
    methods: Mapping[str, Row]
    seeds: tuple[int, ...]
    search: str
    note: str = ""
    metrics: tuple[str, ...] = ("target_acc_last",)
    columns: Mapping[str, str] = field(
        default_factory=dict
    )  # further ones of results.csv: name -> path in results.json
    published: Path | None = None
    expected: str = "results"  # or "published": what a row has to come out as
    tolerance: float = TOLERANCE

    @property
    def results(self) -> Path:
        """The csv file with a line for each run."""
        return self.folder / "results.csv"

    @property
    def table(self) -> Path:
        """The page made of `results` and `published`."""
        return self.folder / "table.md"


def find_suite(name: str) -> Suite:
    """Read the suite of this name, or in this folder or file. ValueError for one that there is not, or is no suite."""
    given = Path(name)
    for path in (given, given / SUITE_FILE, BENCHMARKS / name / SUITE_FILE):
        if path.is_file():
            return read_suite(path)
    if not BENCHMARKS.is_dir():
        raise ValueError(
            f"there is no suite at {name}; suites lie in the folder benchmarks of the repository, not in the installed "
            "package: give the path of a suite.yaml"
        )
    raise ValueError(f"there is no suite {name!r}; there are {', '.join(suite_names())}, or the path of a suite.yaml")


def suite_names() -> list[str]:
    """Names of all suites of the checkout."""
    return sorted(path.parent.relative_to(BENCHMARKS).as_posix() for path in BENCHMARKS.rglob(SUITE_FILE))


def read_suite(path: Path) -> Suite:
    """Read a suite.yaml; ValueError naming the file and what is wrong with it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _suite(path, content if isinstance(content, dict) else {})
    except (ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(f"{path} is no suite: {said}") from error


def _suite(path: Path, content: Mapping[str, Any]) -> Suite:
    if unknown := content.keys() - KEYS:
        raise ValueError(f"it has {sorted(unknown)}, but the keys are {sorted(KEYS)}")
    folder = path.resolve().parent
    name = folder.relative_to(BENCHMARKS).as_posix() if folder.is_relative_to(BENCHMARKS) else folder.name
    experiment = [f"experiment={content['experiment']}"] if "experiment" in content else []
    expected = content.get("expected", "results")
    stated, tolerance = (expected, TOLERANCE) if isinstance(expected, str) else next(iter(expected.items()))
    if stated not in ("results", "published") or (stated == "published" and "published" not in content):
        raise ValueError(f"expected={expected}: give results, or published with its tolerance and a file `published`")
    return Suite(
        name=name,
        folder=folder,
        title=content["title"],
        note=content.get("note", ""),
        options=(*experiment, *content.get("options", ())),
        tasks=_tasks(content["tasks"]),
        methods=_methods(content["methods"]),
        seeds=tuple(map(int, content["seeds"])),
        search=str(content["search"]),
        metrics=tuple(content.get("metrics", ("target_acc_last",))),
        columns=content.get("columns", {}),
        published=folder / content["published"] if "published" in content else None,
        expected=stated,
        tolerance=float(tolerance),
    )


def _tasks(given: Sequence[Sequence[str]] | Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Options by name of the task; a pair of domains is named by them."""
    if isinstance(given, Mapping):
        tasks = {str(name): tuple(words) for name, words in given.items()}
    else:
        tasks = {
            task_name(source, target): (f"data.source={source}", f"data.target={target}") for source, target in given
        }
    if not tasks or len(tasks) != len(given):
        raise ValueError(f"the tasks are {list(given)}: name at least one, and each once")
    for name in tasks:
        _check_name(name)
    return tasks


def _methods(given: Sequence[str] | Mapping[str, Any]) -> dict[str, Row]:
    if not isinstance(given, Mapping):
        given = {name: [f"method={name}"] for name in given}
    methods = {}
    for name, said in given.items():
        row = said if isinstance(said, Mapping) else {"options": said}
        methods[str(name)] = Row(tuple(row["options"]), bool(row.get("once", False)))
        _check_name(str(name))
    return methods


def task_name(source: str, target: str) -> str:
    """Name of a pair of domains, for a folder and for the command line."""
    return re.sub(r"[^\w.+-]+", "_", f"{source}-{target}")


def _check_name(name: str) -> None:
    # It is a folder, and a part of SUITE/ROW/TASK.
    if not re.fullmatch(r"[\w.+-]*", name):
        raise ValueError(f"the name {name!r} may have letters, digits and _ . + - only")


def read_rows(path: Path | None) -> Rows:
    """The rows of a csv file; none if it is not there."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path and path.exists() else []
