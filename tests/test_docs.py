"""The documentation says what is so: commands compose, examples build, keys and fields are those that a run writes."""

import importlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CONF, TOY, check_options, config, normal, options
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from da.auto.plan import read_settings
from da.build import build
from da.run import run
from da.types import Step
from da.validators.base import Seen

ROOT = CONF.parent
DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "pages").rglob("*.md"))
MEASURED = {"train/loss/<update>", "alignment/<term>/norm"}  # of methods with several updates; the run below has one


@pytest.fixture
def script(monkeypatch):
    """A function that imports a script by its name."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module


@pytest.mark.parametrize("name", ["make_docs", "make_datasets"])
def test_the_generated_pages_are_what_make_docs_writes(script, name, capsys):
    assert script(name).main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("group", "pages"), [("method", "methods"), ("term", "terms"), ("discrepancy", "discrepancies")]
)
def test_every_method_term_and_discrepancy_has_a_page_and_notes(group, pages):
    for folder in (DOCS / "pages" / pages, DOCS / "notes" / group):
        assert {path.stem for path in folder.glob("*.md")} - {"index"} == set(options(group))


def test_a_benchmark_shows_mean_interval_and_number_of_seeds(script):
    seeds = (("0", "0.90"), ("1", "0.92"))
    rows = [{"method": "mmd", "source": "mnist", "target": "usps", "seed": s, "target_acc_last": a} for s, a in seeds]
    (line,) = [line for line in script("docs_tables").benchmark(rows).splitlines() if line.startswith("| mnist")]
    assert line == "| mnist → usps | 91.0 ± 12.7 (2) | - | - | - | - |"  # t(1) = 12.706, s / sqrt(2) = 1


def commands(page):
    """Every `da train` line of the code blocks of a page, and those in the text that leave nothing out."""
    text = page.read_text()
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(da train [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line for line in lines if "da train" in line and not re.search(r"\.\.\.|NAME", line)]


def overrides(command):
    """The overrides of a command; a sweep's first values."""
    words = shlex.split(command.replace("$PWD/my_conf", str(CONF)))
    words = [word for word in words[words.index("train") + 1 :] if not word.startswith("-") and word != "job"]
    chosen = []
    for override in OverridesParser.create().parse_overrides(words):
        value = override.value()
        if isinstance(value, IntervalSweep):
            chosen.append(f"{override.key_or_group}={value.start}")
        elif override.is_sweep_override():
            chosen.append(f"{override.key_or_group}={next(override.sweep_string_iterator())}")
        else:
            chosen.append(override.input_line)
    return chosen


COMMANDS = sorted({(page.relative_to(DOCS).as_posix(), line) for page in PAGES for line in commands(page)})


def test_there_are_commands_in_the_docs():
    assert len(COMMANDS) > 40


def examples():
    """File name -> text of every complete file in extending.md."""
    text = (DOCS / "pages" / "extending.md").read_text()
    return dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```', text, flags=re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """The examples of extending.md as files; return the override that makes their yaml known."""
    root = tmp_path_factory.mktemp("extended")
    for name, text in examples().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    packages = [importlib.import_module(f"da.{path.name}") for path in (root / "da").iterdir()]
    for package in packages:
        package.__path__.append(str(root / "da" / Path(package.__path__[0]).name))
    yield f"hydra.searchpath=[file://{root / 'conf'}]"
    for package in packages:
        package.__path__.pop()


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_composes_and_its_options_exist(page, command, extended):
    chosen = overrides(command)
    if "method=auto" in chosen:
        chosen = read_settings([word for word in chosen if word != "method=auto"])[1]
    cfg = config(*([extended] if "searchpath" not in command else []), *chosen)
    check_options(cfg)


@pytest.mark.parametrize("name", examples())
def test_every_example_is_a_new_file_and_a_yaml_begins_with_what_it_is(name):
    assert not (ROOT / name).exists()
    assert name.endswith(".py") or examples()[name].startswith("# ")


def test_the_examples_build_and_compute(extended, tmp_path, clouds):
    for seed, name in enumerate("ab"):
        np.savez(tmp_path / f"{name}.npz", x=normal(80, 8, seed=seed).numpy(), y=np.arange(80) % 2)
    files = [f"data.folder={tmp_path}", "data.source=a", "data.target=b", "data.num_features=8"]
    for method in ("cdan_mcc", "source_only term=gini", "two_step"):
        cfg = config(extended, *f"method={method}".split(), "data=spectra", "net=mlp", *files)
        data, net = build(cfg.data, "data"), build(cfg.net, "net")
        trained = build(cfg.method, "method", net=net, optimizer=build(cfg.optimizer, "optimizer"))
        data.load(trained.streams)
        batch = next(iter(data.train_dataloader()))[0]
        encoded = {name: trained.encode_stream(rows, name) for name, rows in batch.items()}
        step = Step(encoded, 0.5)
        losses = [u.loss(step) for u in trained.updates()] if method == "two_step" else [trained.loss(step)]
        assert all(loss.total.isfinite() for loss in losses)
    assert set(data.hashes()) == {"a", "b"}
    distance = build(config(extended, "method=align", "discrepancy=moments").discrepancy, "discrepancy")
    assert distance(clouds[0], clouds[0]) == 0
    assert distance(*clouds) > 0
    series = build(config(extended, "net=series", "data=toy").net, "net")
    assert series(torch.zeros(2, 3, 50))[0].shape == (2, 64)
    confident = build(config(extended, "+validator@validators.c=confidence").validators.c, "c")
    assert 0.5 <= confident.score(Seen(encoded["target"])) <= 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of one run."""
    folder = tmp_path_factory.mktemp("run")
    run(config(*TOY, "method=dann", "monitor.every=1", run_dir=folder))
    return folder


def documented(page):
    """First column of the tables of a page, where it is code."""
    return re.findall(r"^\| `([^`]+)` \|", (DOCS / "pages" / page).read_text(), flags=re.MULTILINE)


def compare(names, written):
    """Every name stands for something written, and everything written has a name. `<x>` is any one word."""
    patterns = {name: re.sub(r"<\w+>", r"[^/]+", name.replace(".", r"\.")) for name in names}
    plain = written - {name for name in names if "<" not in name}
    for name, pattern in patterns.items():
        assert any(re.fullmatch(pattern, key) for key in (plain if "<" in name else written)), f"{name} is not written"
    for key in written:
        assert any(re.fullmatch(pattern, key) for pattern in patterns.values()), f"{key} is not documented"


def test_the_metric_keys_of_a_run_are_those_of_the_docs(finished):
    header = (finished / "metrics.csv").read_text().splitlines()[0].split(",")
    keys = {name for name in documented("metrics.md") if "/" in name}
    assert keys >= MEASURED
    compare(keys - MEASURED, set(header) - {"step"})


def test_the_validators_are_those_of_the_docs():
    assert {name for name in documented("metrics.md") if "/" not in name} == set(options("validator"))


@pytest.mark.parametrize("name", ["digits_demo", "digits", "toy"])
def test_the_batch_sizes_of_the_docs_are_those_of_the_yaml(name):
    cfg = config(f"data={name}", *(["net=mlp"] if name == "toy" else [])).data
    numbers = [*(cfg.batch_size[s] for s in ("source", "target", "labeled", "oracle")), cfg.steps_per_epoch]
    assert f"| `{name}` | {' | '.join(map(str, numbers))} |" in (DOCS / "pages" / "data.md").read_text()


def flat(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_the_fields_of_the_results_are_those_of_the_docs(finished):
    results = json.loads((finished / "results.json").read_text())
    names = set(documented("results.md")) - {"running", "failed", "pruned", "complete"}
    compare(names, set(flat(results)))


def test_the_files_of_a_run_are_those_of_the_docs(finished):
    for name in (
        "results.json",
        "metrics.csv",
        "config.yaml",
        "data.json",
        "environment.json",
        "checkpoints/last.ckpt",
        "checkpoints/selected.ckpt",
    ):
        assert (finished / name).is_file()
        assert f"`{name}`" in (DOCS / "pages" / "first-run.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_file_and_test_that_is_named_exists(page):
    for name, test in re.findall(r"`((?:tests|da|conf|scripts|benchmarks)/[\w/]+\.\w+)(?:::(\w+))?`", page.read_text()):
        if name in examples():
            continue
        assert (ROOT / name).is_file(), name
        assert not test or f"def {test}(" in (ROOT / name).read_text(), f"{name}::{test}"
