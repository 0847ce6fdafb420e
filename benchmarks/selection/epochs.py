"""Which epoch of a run: what each validator picks, against the last one: python benchmarks/selection/epochs.py.

Reads results/*.csv, which tables.py makes, and writes epochs.md.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from da.benchmark.suite import read_rows
from da.report.statistics import interval

HERE = Path(__file__).parent
ORACLE = "oracle_target_acc"
NO_SCORES = {"data", "source", "target", "method", "seed", "epoch", "config_hash"}
TITLES = {ORACLE: "*ORACLE (target labels)*", "": "*the last epoch*"}


class Run(NamedTuple):
    """A run's task, accuracies in percent and scores, by epoch."""

    task: tuple[str, str]
    accuracy: list[float]
    scores: dict[str, list[float]]  # a validator that was not computed at all epochs is left out

    def chosen(self, by: str) -> int:
        """The first epoch with the highest score, as `selection_metric` chooses it; by "" the last one."""
        return self.scores[by].index(max(self.scores[by])) if by else len(self.accuracy) - 1


def read(file: Path) -> list[Run]:
    """The runs of a data set."""
    of_run: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(file):
        of_run[row["config_hash"]].append(row)
    return [_run(sorted(rows, key=lambda row: int(row["epoch"]))) for rows in of_run.values()]


def _run(rows: Sequence[dict[str, str]]) -> Run:
    names = [name for name in rows[0] if name not in NO_SCORES and all(row[name] for row in rows)]
    scores = {name: [float(row[name]) for row in rows] for name in names}
    return Run((rows[0]["source"], rows[0]["target"]), [100 * value for value in scores[ORACLE]], scores)


def table(runs: Sequence[Run]) -> str:
    """What each validator's epoch is above the last one and below the best one, in points, the best first."""
    names = {name for run in runs for name in run.scores} | {""}
    lines = []
    for name in names:
        able = [run for run in runs if not name or name in run.scores]
        gains: dict[tuple[str, str], list[float]] = defaultdict(list)
        for run in able:
            gains[run.task].append(run.accuracy[run.chosen(name)] - run.accuracy[-1])
        lost = fmean(max(run.accuracy) - run.accuracy[run.chosen(name)] for run in able)
        every = [gain for own in gains.values() for gain in own]
        means = interval([fmean(own) for own in gains.values()])
        cells = (
            TITLES.get(name, name),
            str(len(able)),
            means.cell(1, "+.2f"),
            f"{lost:.2f}",
            f"{100 * sum(gain > 1 for gain in every) / len(every):.0f} %",
            f"{100 * sum(gain < -1 for gain in every) / len(every):.0f} %",
            f"{min(every):+.1f}",
        )
        lines.append((-means.mean, name, "| " + " | ".join(cells) + " |"))
    heads = "chosen by", "runs", "to the last epoch", "below ORACLE", "gain > 1", "lose > 1", "worst run"
    return "\n".join(
        ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1), *(line for *_, line in sorted(lines))]
    )


def page() -> str:
    """The tables of all results that there are."""
    parts = [
        "# Which epoch a validator chooses",
        "Every run by itself: the epoch that a validator scores highest, and the accuracy there, on the target rows "
        "that are scored at validations. In points: to the last epoch (mean over the runs of a task, ± is the 95 % "
        "interval over the tasks), below the epoch that target labels would have chosen (ORACLE; mean over the runs), "
        "the parts of the runs that gain and that lose more than a point against the last epoch, and the worst run.",
    ]
    for file in sorted((HERE / "results").glob("*.csv")):
        runs = read(file)
        tasks, epochs = len({run.task for run in runs}), len(runs[0].accuracy)
        parts.append(f"## {file.stem}: {tasks} tasks, {len(runs)} runs of {epochs} epochs\n\n{table(runs)}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (HERE / "epochs.md").write_text(page())
