"""Which validator to trust, and how often the guard is right: python benchmarks/selection/tables.py [RUNS NAME].

With RUNS, a folder of runs with validators=all, results/NAME.csv is brought up to date with them first: a row an epoch
of each run. table.md is made of all results.
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from scipy.stats import spearmanr

from da.benchmark.suite import read_rows
from da.report.results import complete_runs, method_order
from da.report.statistics import interval
from da.select.choice import BASELINE, ENSEMBLE, Option, Task, Trained, choose, common_validators
from da.select.guard import PANELS, baseline, vote

HERE = Path(__file__).parent
IDENTITY = ("data", "source", "target", "method", "seed", "epoch")
KNOWN = {*IDENTITY, "oracle_target_acc", "config_hash"}
BEST_OF_OTHERS = "best panel of the other data"
BOUND = "target_only"  # it reads all target labels, so it is no candidate


class Case(NamedTuple):
    """An adapted option of a task, beside source-only."""

    gain: float  # points of accuracy
    preferred: frozenset[str]  # the validators that prefer it


def collect(runs: Path, name: str) -> None:
    """Bring results/NAME.csv up to date: rows of runs that are not below `runs` stay.

    Accuracies are fractions, of the target rows that are scored at validations.
    """
    file = HERE / "results" / f"{name}.csv"
    of_run: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(file):
        of_run[row["config_hash"]].append({key: value for key, value in row.items() if value})
    for raw in complete_runs(runs):
        of_run[raw["config_hash"]] = [_epoch(raw, epoch) for epoch in raw["epochs"]]
    rows = [row for own in of_run.values() for row in own]
    rows.sort(key=lambda r: (r["source"], r["target"], method_order(r["method"]), int(r["seed"]), int(r["epoch"])))
    validators = sorted({key for row in rows for key in row} - KNOWN)
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="") as opened:
        columns = [*IDENTITY, "oracle_target_acc", *validators, "config_hash"]
        writer = csv.DictWriter(opened, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _epoch(raw: Mapping[str, Any], epoch: Mapping[str, Any]) -> dict[str, str]:
    scores = {**epoch["validators"], "oracle_target_acc": epoch["oracle"]["target_acc"]}
    numbers = {key: f"{value:.6g}" for key, value in scores.items() if value is not None}
    identity = {**{key: raw[key] for key in IDENTITY[:-1]}, "epoch": epoch["epoch"], "config_hash": raw["config_hash"]}
    return {**{key: str(value) for key, value in identity.items()}, **numbers}


def tasks(file: Path) -> list[Task]:
    """The tasks of a data set, with the last epoch of every run that reads no target label."""
    of_task: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(file):
        if row["method"] != BOUND:
            of_task[f"{row['source']}→{row['target']}"].append(row)
    return [_task(file.stem, name, rows) for name, rows in of_task.items()]


def _task(data: str, name: str, rows: Sequence[dict[str, str]]) -> Task:
    last = max(int(row["epoch"]) for row in rows)
    ends = [row for row in rows if int(row["epoch"]) == last]
    methods = sorted({row["method"] for row in ends}, key=method_order)
    return Task(data, name, tuple(_option(m, (row for row in ends if row["method"] == m)) for m in methods))


def _option(method: str, rows: Iterable[dict[str, str]]) -> Option:
    def run(row: dict[str, str]) -> Trained:
        scores = {key: float(value) for key, value in row.items() if key not in KNOWN and value}
        return Trained(Path(), scores, float(row["oracle_target_acc"]))

    return Option(method, method, (), {int(row["seed"]): run(row) for row in rows})


def accuracy(option: Option) -> float:
    """Percent, the mean over the seeds."""
    found = option.target_acc()
    assert found is not None
    return 100 * found.mean


def plain(task: Task) -> Option:
    found = baseline(task)
    assert found is not None, f"{task.name} has no {BASELINE}"
    return found


def correlation(task: Task, validator: str) -> float | None:
    """Spearman's rank correlation of score and accuracy over all runs of a task; None if one of them is constant."""
    runs = [run for option in task.options for run in option.runs.values() if validator in run.scores]
    scores, right = [run.scores[validator] for run in runs], [run.target_acc for run in runs]
    return float(spearmanr(scores, right).statistic) if len(set(scores)) > 1 and len(set(right)) > 1 else None


def validator_rows(found: Sequence[Task]) -> list[list[str]]:
    """A row a validator: correlation, accuracy of the choice, difference to source-only and to the oracle, losses."""
    names = sorted({name for task in found for o in task.options for run in o.runs.values() for name in run.scores})
    rows = []
    for name in [*names, ENSEMBLE, "oracle"]:
        able = [task for task in found if name in (ENSEMBLE, "oracle") or any(o.scores(name) for o in task.options)]
        chosen = [choose(task, [name]).best for task in able]
        gains = [accuracy(option) - accuracy(plain(task)) for option, task in zip(chosen, able, strict=True)]
        gaps = [max(map(accuracy, task.options)) - accuracy(option) for option, task in zip(chosen, able, strict=True)]
        related = [] if name in (ENSEMBLE, "oracle") else [correlation(task, name) for task in able]
        known = [value for value in related if value is not None]
        rows.append(
            [
                name,
                str(len(able)),
                _interval(known, ".2f") if known else "",
                f"{fmean(map(accuracy, chosen)):.1f}",
                _interval(gains, "+.1f"),
                f"{fmean(gaps):.1f}",
                str(sum(gain < -1 for gain in gains)),
            ]
        )
    return sorted(rows, key=lambda row: -float(row[3]))


def cases(found: Sequence[Task], names: Sequence[str]) -> list[Case]:
    """Every adapted option of every task: its gain over source-only, and whether each validator prefers it."""
    compared = [(t, o, vote(o, plain(t), [names]).votes) for t in found for o in t.options if o.method != BASELINE]
    return [
        Case(accuracy(o) - accuracy(plain(t)), frozenset(name for name, difference in votes.items() if difference > 0))
        for t, o, votes in compared
    ]


def keeps(panel: Sequence[str], case: Case) -> bool:
    """Whether more than half of the panel prefers the adapted network."""
    return 2 * len(case.preferred.intersection(panel)) > len(panel)


def guarded(panel: Sequence[str], found: Sequence[Case]) -> list[float]:
    """The gains of what the panel keeps, 0 elsewhere."""
    return [case.gain if keeps(panel, case) else 0.0 for case in found]


def guard_row(name: str, found: Sequence[Task]) -> list[str]:
    """How often the guard is right about adaptation that hurts or helps, and what it costs or saves."""
    panel = PANELS[0]
    known = cases(found, panel)
    hurts, helps = ([case for case in known if (case.gain < 0) == negative] for negative in (True, False))
    flagged, kept = sum(not keeps(panel, case) for case in hurts), sum(keeps(panel, case) for case in helps)
    gains, after = [case.gain for case in known], guarded(panel, known)
    return [
        name,
        str(len(known)),
        f"{flagged} of {len(hurts)}",
        f"{kept} of {len(helps)}",
        f"{100 * (flagged + kept) / len(known):.0f} %",
        *(f"{value:+.1f}" for value in (fmean(gains), fmean(after), min(gains), min(after))),
    ]


def best_panel(found: Sequence[Case], names: Sequence[str]) -> tuple[str, ...]:
    """The one or three validators that, voting, give the highest mean gain."""
    panels = [panel for size in (1, 3) for panel in combinations(names, size)]
    return max(panels, key=lambda panel: fmean(guarded(panel, found)))


def panel_rows(of_data: Mapping[str, Sequence[Task]], names: Sequence[str]) -> list[list[str]]:
    """Mean and worst gain on each data set under no guard, a perfect one, single validators, the panel, and others'."""
    known = {data: cases(found, names) for data, found in of_data.items()}

    def under(panel: Sequence[str]) -> dict[str, list[float]]:
        return {data: guarded(panel, found) for data, found in known.items()}

    gains = {name: under([name]) for name in names}
    for title, panel in zip(("the guard's panel", "where a run lacks those"), PANELS, strict=True):
        gains[f"**{title}** ({', '.join(panel)})"] = under(panel)
    notes: dict[str, str] = {}
    if len(known) > 1:
        others = {
            data: best_panel([case for other in known if other != data for case in known[other]], names)
            for data in known
        }
        notes = {data: f" ({', '.join(panel)})" for data, panel in others.items()}
        gains[BEST_OF_OTHERS] = {data: guarded(others[data], found) for data, found in known.items()}
    ranked = sorted(gains, key=lambda title: -sum(map(fmean, gains[title].values())))
    gains["*every method kept*"] = {data: [case.gain for case in found] for data, found in known.items()}
    gains["*a guard that is always right*"] = {d: [max(c.gain, 0.0) for c in found] for d, found in known.items()}

    def cell(title: str, data: str) -> str:
        own = gains[title][data]
        return f"{fmean(own):+.1f}, {min(own):+.1f}" + (notes.get(data, "") if title == BEST_OF_OTHERS else "")

    bounds = ["*a guard that is always right*", "*every method kept*"]
    return [[title, *(cell(title, data) for data in known)] for title in (*bounds, *ranked)]


def _interval(values: Sequence[float], form: str) -> str:
    return interval(values).cell(1, form)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "---:|" * (len(columns) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def page() -> str:
    """The tables, of all results that there are."""
    of_data = {file.stem: tasks(file) for file in sorted((HERE / "results").glob("*.csv"))}
    every = [task for found in of_data.values() for task in found]
    counts = ", ".join(f"{name} ({len(found)} tasks)" for name, found in of_data.items())
    head = ["chosen by", "tasks", "Spearman", "accuracy", "to source_only", "to ORACLE", "tasks that lose > 1 point"]
    guard = ["data", "cases", "hurts, and flagged", "helps, and kept", "right", "gain", "guarded", "worst", "guarded"]
    names = sorted(set.intersection(*(set(common_validators(task)) for task in every)))
    parts = [
        "# Which validator chooses well",
        f"Among the methods that read no target label, last weights, on {counts}. A method's score is its mean over "
        "the seeds; ± is the 95 % interval over the tasks.",
        table(head, validator_rows(every)),
        *(f"## {name}\n\n{table(head, validator_rows(found))}" for name, found in of_data.items() if len(of_data) > 1),
        "# The guard against negative transfer",
        f"A case is a method on a task, against source_only of the same seeds. Who votes: {', '.join(PANELS[0])}.",
        table(guard, [guard_row("all", every), *(guard_row(name, found) for name, found in of_data.items())]),
        "## Who should vote",
        "Mean gain over source_only, and the worst, in points, of all methods: each is taken where more than half of "
        "those that vote prefer it. Only validators that every method has. The best panel of the other data is that of "
        "one or three validators which gives most there, and nothing of it is chosen on the data of the column.",
        table(["who votes", *of_data], panel_rows(of_data, names)),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        collect(Path(sys.argv[1]), sys.argv[2])
    (HERE / "table.md").write_text(page())
