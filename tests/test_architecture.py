"""Imports point in one direction, methods are leaves, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "da").rglob("*.py"))
BELOW = {  # what a package may import of ours
    "types": set(),
    "schedules": set(),
    "distributed": set(),
    "overhead": set(),
    "discrepancies": set(),
    "sharding": set(),
    "models": {"types", "distributed", "sharding", "build", "record"},
    "terms": {"types", "schedules", "distributed", "discrepancies", "models", "transfer"},
    "data": {"types", "distributed"},
    "methods": {"types", "schedules", "distributed", "overhead", "sharding", "models", "terms", "data", "transfer"},
    "validators": {"types", "discrepancies", "terms", "data", "transfer"},
    "precision": set(),
    "settings": {"precision"},
    "record": {"settings"},
    "report": {"command", "record", "settings", "sweep", "transfer"},
    "callbacks": {
        "types",
        "cost",
        "distributed",
        "record",
        "data",
        "models",
        "terms",
        "methods",
        "transfer",
        "validators",
        "report",
        "sweep",
    },
    "benchmark": {"cli", "command", "compose", "record", "report", "settings"},
    "build": set(),
    "command": set(),
    "assemble": {"build", "data", "models", "record", "types"},
    "cost": set(),
    "introduce": {"assemble", "build", "data", "models"},
    "transfer": {"discrepancies", "distributed", "models"},
    "select": {"command", "record", "report", "settings", "validators"},
    "sweep": {"compose", "record", "settings"},
    "stacked": {
        *("assemble", "build", "callbacks", "cost", "data", "introduce", "methods"),
        *("environment", "record", "resume", "run", "stage", "terms", "models", "overhead", "types"),
    },
    "use": {"build", "data", "models", "types"},
}


def package(path):
    return path.relative_to(ROOT / "da").parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("da."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_what_lies_below(path):
    own = package(path)
    if own in BELOW:
        assert set(imported(path)) <= BELOW[own] | {own}


def test_no_concrete_method_is_subclassed_and_each_is_final():
    for path in (ROOT / "da/methods").glob("[!_b]*.py"):
        classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        methods = [c for c in classes if any(getattr(b, "id", "").endswith("Method") for b in c.bases)]
        assert len(methods) == 1, path.name
        assert [d.id for d in methods[0].decorator_list] == ["final"]
        assert {b.id for b in methods[0].bases} <= {"JointMethod", "AlternatingMethod"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_fits_on_a_few_screens_and_a_function_in_the_head(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = len((ast.get_docstring(node) or "").splitlines())
            assert node.end_lineno - node.lineno + 1 - docstring <= 50, node.name


@pytest.mark.parametrize(
    ("name", "files"), [("torch.distributed", {"distributed.py", "sharding.py"}), ("wandb", set())]
)
def test_only_these_files_know(name, files):
    users = {
        str(p.relative_to(ROOT / "da"))
        for p in MODULES
        if f"import {name}" in p.read_text() or f"from {name}" in p.read_text()
    }
    assert users == files


def test_lightning_is_imported_under_one_name_only():
    for path in MODULES:
        assert "from lightning" not in path.read_text()
        assert "import lightning" not in path.read_text()


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [("da.cli", "torch"), ("da.report.cli", "torch"), ("da.terms.adversarial", "pytorch_lightning")],
)
def test_import_stays_light(module, forbidden):
    code = f"import sys, {module}; sys.exit({forbidden!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
