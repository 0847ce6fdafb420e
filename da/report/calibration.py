"""How far the probabilities on the target can be believed, where that was measured."""

from collections.abc import Mapping, Sequence

from da.report.results import CALIBRATION, Repetitions, Result
from da.report.section import Section
from da.report.statistics import interval
from da.report.tables import Sheet, marked

TITLES: Mapping[str, str] = {"ece": "ECE", "brier": "Brier score"}


def calibration_section(rows: Sequence[Repetitions]) -> Section | None:
    """Expected calibration error and Brier score of the target's test rows, last weights; None where no run has any."""
    lines = []
    for row in rows:
        for task in sorted({run.task for run in row.runs}):
            runs = [run for run in row.runs if run.task == task]
            if any(_known(runs, name) for name in CALIBRATION):
                lines.append([row.data, task, marked(row), *(_mean(_known(runs, name)) for name in CALIBRATION)])
    if not lines:
        return None
    text = [
        "ECE is the mean gap of confidence and accuracy over 15 bins of confidence, the Brier score the mean squared "
        "distance of probabilities and one-hot label. Target test rows, last weights: mean ± 95 % interval over seeds."
    ]
    columns = ["data", "task", "method", *(TITLES[name] for name in CALIBRATION)]
    return Section("calibration", "Calibration", text, sheets=[Sheet("Calibration", columns, lines)])


def _known(runs: Sequence[Result], name: str) -> list[float]:
    return [value for run in runs if (value := run.calibration.get(name)) is not None]


def _mean(values: Sequence[float]) -> str:
    return interval(values).text(1, ".3f") if values else "-"
