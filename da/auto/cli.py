"""`da train method=auto ...`: one adapted model within a time budget, chosen without target labels."""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from da.auto.plan import Candidate, Settings, balance_of, candidates, read_settings, shortened, suited
from da.auto.search import Entry, Trial, halve
from da.command import Parser, run_command
from da.compose import compose_config, config_dir
from da.select.guard import PANELS

REPORT, MODEL, TRIALS = "auto.json", "model", "trials"
"""In the folder of a search: what it did, the run that it chose, and all runs."""

EPILOG = """The options are those of da train, and those of conf/auto.yaml: minutes, by, methods, lambdas, rungs, keep.

da train method=auto data=digits_demo minutes=5
da train method=auto experiment=office_caltech10 data.source=amazon data.target=webcam minutes=10 by=snd"""


def main(argv: list[str]) -> int:
    """Run `da auto` with the words after it; see `run_command` for the exit status."""
    return run_command("auto", lambda: _auto(argv))


def _auto(argv: list[str]) -> None:
    parser = Parser(
        prog="da auto", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("options", nargs="*", metavar="option=value")
    options = parser.parse_args(argv).options
    if any(word.startswith("method=") for word in options):
        parser.error("auto chooses the method; methods=[mmd,mcc] says among which")
    settings, words = read_settings(options)
    found = search(settings, words)
    print("\n".join(found["said"]))


def search(settings: Settings, words: Sequence[str]) -> dict[str, Any]:
    """Train candidates, choose one, put its run under `MODEL`; return what the file `REPORT` says.

    Args:
        settings: see `Settings`.
        words: options of `da train`, with `run_dir=` or else in a folder below `runs` that the config names.

    Raises what a source-only run raises, and ValueError for options that there are not.
    """
    from da.build import build
    from da.report.results import find_results
    from da.report.tables import render
    from da.select.choice import choose, tasks
    from da.select.selection import report, selected
    from da.settings import run_name

    given = [word.partition("=")[2] for word in words if word.startswith("run_dir=")]
    cfg, words = training_words(settings, words)
    settings, left_out = suited(settings, balance_of(build(cfg.data, "data").train_set("source").y))
    if left_out:
        print(left_out, file=sys.stderr, flush=True)
    folder = Path(given[0]) if given else Path(cfg.runs) / run_name(cfg.names.data, "auto", cfg)

    def train(candidate: Candidate, part: float) -> Trial:
        return _train(candidate, words, part, place(folder, candidate, part), settings.by)

    entries = halve(candidates(settings, words), settings, train)
    ends = {place(folder, entry.candidate, 1): entry.candidate for entry in entries if entry.part == 1 and entry.trial}
    (task,) = tasks(find_results(list(ends)))
    one = selected(task, choose(task, [settings.by]))
    (run,) = one.chosen.runs.values()
    shutil.rmtree(folder / MODEL, ignore_errors=True)
    shutil.copytree(run.folder, folder / MODEL)
    table = report([one], "last")
    content = {
        "schema": "da.auto/1",
        "options": list(words),
        "settings": asdict(settings),
        "chosen": ends[run.folder].name,
        "model": str(folder / MODEL),
        "votes": None if one.verdict is None else dict(one.verdict.votes),
        "trials": [_record(entry) for entry in entries],
        "options_at_full_length": table.records,
        "left_out": left_out or None,
        "said": [*render(table, "table").splitlines(), f"the model: {folder / MODEL}"],
    }
    from da.record import write_whole

    write_whole(folder / REPORT, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return content


def training_words(settings: Settings, words: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """Return the config of these options of `da train`, and the options that all candidates have.

    These add the validators that decide and that the config lacks: of the choice, and of the guard. Raises ValueError
    for a validator that there is not.
    """
    words = [*(word for word in words if not word.startswith("run_dir=")), "figures=none"]
    cfg = compose_config(words)
    known = sorted({*cfg.validators, *(path.stem for path in Path(config_dir(), "validator").glob("*.yaml"))})
    if settings.by not in known:
        raise ValueError(f"by={settings.by} is no validator; there are {', '.join(known)}")
    missing = sorted({settings.by, *PANELS[0]}.difference(cfg.validators))
    added = [f"+validator@validators.{name}={name}" for name in missing]
    return cfg, [*words, *added, f"selection_metric={settings.by}"]


def place(folder: Path, candidate: Candidate, part: float) -> Path:
    """Return the folder of a trial."""
    return folder / TRIALS / f"{part:g}" / candidate.name.replace(" ", "-")


def _train(candidate: Candidate, words: Sequence[str], part: float, folder: Path, by: str) -> Trial:
    """Train for a part of the length, unless that is done already."""
    import yaml  # type: ignore[import-untyped]

    from da.record import RESULTS_FILE, finished
    from da.run import run

    words = [*words, *candidate.words]
    cfg = shortened(words, part, folder)
    if finished(folder, cfg):
        results = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
    else:
        results = run(cfg)
        hydra = folder / ".hydra"
        hydra.mkdir(exist_ok=True)
        (hydra / "overrides.yaml").write_text(yaml.safe_dump(list(words)), encoding="utf-8")
    score = results["validators"].get(by)
    if score is None:
        raise ValueError(f"{candidate.name} is not scored by {by}")
    print(f"{candidate.name}: {part:g} of its length, {by} {score:.4g}", file=sys.stderr, flush=True)
    return Trial(score, results["cost"]["seconds"])


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "candidate": entry.candidate.name,
        "options": list(entry.candidate.words),
        "part": entry.part,
        "score": entry.trial.score if entry.trial else None,
        "seconds": entry.trial.seconds if entry.trial else None,
        "reason": entry.reason or None,
    }
