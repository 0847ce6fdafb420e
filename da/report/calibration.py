"""What results.json says of calibration, where it says something."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from da.report.results import Repetitions
from da.report.section import Section
from da.report.statistics import interval
from da.report.tables import Sheet, marked


def calibration_section(rows: Sequence[Repetitions]) -> Section | None:
    """The numbers under `calibration` by their names, means over seeds; None where no run has any."""
    lines = []
    for row in rows:
        for task in sorted({run.task for run in row.runs}):
            values: dict[str, list[float]] = {}
            for run in (run for run in row.runs if run.task == task):
                for name, value in _numbers(run.calibration):
                    values.setdefault(name, []).append(value)
            lines += [[row.data, task, marked(row), name, interval(v).text(1, ".4g")] for name, v in values.items()]
    if not lines:
        return None
    text = ["Numbers of `calibration` in results.json, as they stand there: mean ± 95 % interval over n seeds."]
    columns = ["data", "task", "method", "number", "value"]
    return Section("calibration", "Calibration", text, sheets=[Sheet("Calibration", columns, lines)])


def _numbers(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            yield f"{prefix}{key}", float(value)
