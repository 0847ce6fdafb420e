"""What each class gains or loses against source_only."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from da.report.accuracy import NOTHING
from da.report.against import BASE, base_of
from da.report.plots import heat_map
from da.report.results import Repetitions, Result
from da.report.section import Section
from da.report.tables import Sheet, marked

SHOWN = 3  # classes named at each end of a row


class Gains(NamedTuple):
    """Differences of the accuracy of each class to source_only, means over `n` shared seeds."""

    row: Repetitions
    task: str
    classes: tuple[str, ...]
    values: list[float | None]
    n: int


def class_gains(rows: Sequence[Repetitions]) -> list[Gains]:
    """Return the gains of every row on every task whose source_only shares a seed and has accuracies of classes."""
    found = []
    for row in (row for row in rows if row.method != BASE):
        base = base_of(row, rows)
        for task in sorted({run.task for run in row.runs}) if base is not None else ():
            with_classes = _by_seed(row, task), _by_seed(base, task) if base is not None else {}
            seeds = sorted(with_classes[0].keys() & with_classes[1].keys())
            pairs = [(with_classes[0][seed].class_acc, with_classes[1][seed].class_acc) for seed in seeds]
            if pairs and len({len(side) for pair in pairs for side in pair}) == 1:
                values = [_mean_difference([(a[c], b[c]) for a, b in pairs]) for c in range(len(pairs[0][0]))]
                found.append(Gains(row, task, _names(with_classes[0][seeds[0]]), values, len(seeds)))
    return found


def _by_seed(row: Repetitions, task: str) -> dict[int, Result]:
    return {run.seed: run for run in row.runs if run.task == task and run.class_acc}


def _mean_difference(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    known = [a - b for a, b in pairs if a is not None and b is not None]
    return fmean(known) if known else None


def _names(run: Result) -> tuple[str, ...]:
    names = [str(name) for name in (run.data_file or {}).get("classes", ())]
    return tuple(names) if len(names) == len(run.class_acc) else tuple(map(str, range(len(run.class_acc))))


def classes_section(rows: Sequence[Repetitions]) -> Section:
    """A map of gains for each list of classes, and the classes at either end; a sentence where there are none."""
    title = "Gains and losses by class"
    gains = class_gains(rows)
    if not gains:
        said = f"No method shares a seed with {BASE} where both have accuracies by class (`test.target_class_acc`)."
        return Section("classes", title, [said])
    text = [
        f"Target test accuracy of each class after the last epoch, minus that of {BASE} with the same seed: mean over "
        "n shared seeds, in percentage points. There are no intervals here: it is where to look for a class that is "
        "lost while the mean rises."
    ]
    maps = defaultdict(list)
    for one in gains:
        maps[one.row.data, one.classes].append(one)
    figures = []
    for (data, classes), part in maps.items():
        part.sort(key=lambda one: one.task)
        several = len({one.task for one in part}) > 1
        names = [f"{one.task} · {marked(one.row)}" if several else marked(one.row) for one in part]
        where = data if several else f"{data}, {part[0].task}"
        figures.append(heat_map(f"{where}: difference to {BASE} [pp]", classes, names, [one.values for one in part]))
    columns = ["data", "task", "method", "gain", "lose", "best classes", "worst classes", "seeds"]
    return Section("classes", title, text, figures, [Sheet(title, columns, [_line(one) for one in gains])])


def _line(one: Gains) -> list[str]:
    known = [(value, name) for value, name in zip(one.values, one.classes, strict=True) if value is not None]
    known.sort(key=lambda pair: -pair[0])
    up, down = [pair for pair in known if pair[0] > 0], [pair for pair in known if pair[0] < 0]
    ends = [_named(up[:SHOWN]), _named(down[::-1][:SHOWN])]
    return [one.row.data, one.task, marked(one.row), str(len(up)), str(len(down)), *ends, f"n={one.n}"]


def _named(pairs: Sequence[tuple[float, str]]) -> str:
    return ", ".join(f"{name} {100 * value:+.1f}" for value, name in pairs) or NOTHING
