"""A folder with everything that the runs say: results.csv, table.md, table.tex and index.html."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from da.record import write_whole
from da.report.accuracy import LABELS, accuracy_section, data_sets, task_sheet
from da.report.against import against_section
from da.report.audit import audit_section, failed_section
from da.report.axes import rows_by_axes
from da.report.calibration import calibration_section
from da.report.classes import classes_section
from da.report.costs import cost_section
from da.report.lambdas import lambda_section
from da.report.latex import latex
from da.report.page import page
from da.report.quality import quality_section
from da.report.ranking import ranking_section
from da.report.results import Repetitions, Result
from da.report.searches import search_section
from da.report.section import Section
from da.report.tables import Report, notes_on, render

if TYPE_CHECKING:
    from optuna import Study

TITLE = "Target accuracy in percent, mean ± 95 % interval over n seeds."


def write_folder(
    results: Sequence[Result],
    out: Path,
    axes: Sequence[str] = (),
    by_settings: bool = False,
    studies: Sequence["Study"] = (),
) -> None:
    """Write the report of `results` into the folder `out`, which is made; files of an earlier report are replaced.

    With `studies` every setting that differs is an axis: that is what a search does.

    Raises ValueError where runs may not stand in one report, see `rows_by_axes`, and ImportError without plotly:
    nothing is written then.
    """
    plotly_js = _plotly_js()
    rows = rows_by_axes(results, axes, by_settings or bool(studies))
    parts = sections(rows, results)
    if studies:
        parts.insert(0, search_section(studies))
    sheets = [task_sheet(rows, data, metric) for data in data_sets(rows) for metric in LABELS]
    against = next(one for one in parts if one.name == "against")
    notes = notes_on(results, rows)
    table = Report(TITLE, [*sheets, *against.sheets], [], [], [*against.text, *notes])
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "results.csv", _runs_csv(rows, results))
    write_whole(out / "table.md", render(table, "markdown"))
    write_whole(out / "table.tex", latex(table.sheets, TITLE, [*against.text, *notes]))
    write_whole(out / "index.html", page(_title(rows), _subtitle(rows), parts, plotly_js))


def sections(rows: Sequence[Repetitions], results: Sequence[Result]) -> list[Section]:
    """Return the sections of the page in their order."""
    calibration = calibration_section(rows)
    return [
        accuracy_section(rows),
        against_section(rows),
        ranking_section(rows),
        lambda_section(rows),
        quality_section(rows),
        cost_section(rows),
        classes_section(rows),
        *([calibration] if calibration is not None else []),
        failed_section(results),
        audit_section(rows, results),
    ]


def _plotly_js() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError("a folder of the report needs plotly: pip install 'lambda-da[report]'") from error
    return str(get_plotlyjs())


def _title(rows: Sequence[Repetitions]) -> str:
    return f"Report: {', '.join(data_sets(rows))}"


def _subtitle(rows: Sequence[Repetitions]) -> str:
    runs = [run for row in rows for run in row.runs]
    tasks = len({(run.data, run.task) for run in runs})
    seeds = len({run.seed for run in runs})
    counts = ((len(runs), "complete run"), (len(rows), "row"), (tasks, "task"), (seeds, "seed"))
    said = ", ".join(f"{n} {name}{'s' * (n != 1)}" for n, name in counts)
    return f"{said}. A row is a method with one set of settings; a seed is a full re-run on the same test rows."


def _runs_csv(rows: Sequence[Repetitions], results: Sequence[Result]) -> str:
    """One row for each run, those that are not complete at the end; accuracies are fractions, unrounded."""
    complete = [(row, run) for row in rows for run in row.runs]
    validators = sorted({name for _, run in complete for name in run.validators})
    costs = sorted({name for _, run in complete for name in run.cost})
    axes = sorted({key for row in rows for key in row.axes})
    lines = []
    for row, run in complete:
        lines.append(
            _identity(run)
            | {"target_labels": " ".join(run.target_labels)}
            | {f"axis/{key}": row.axes.get(key) for key in axes}
            | {f"target_acc_{metric}": run.target_acc.get(metric) for metric in ("last", "selected")}
            | {f"source_acc_{metric}": run.source_acc.get(metric) for metric in ("last", "selected")}
            | {f"ORACLE/{name}": value for name, value in run.oracle.items()}
            | {f"validator/{name}": run.validators.get(name) for name in validators}
            | {f"cost/{name}": run.cost.get(name) for name in costs}
        )
    fields = list(dict.fromkeys(name for line in lines for name in line))
    lines += [_identity(run) for run in results if run.status != "complete"]
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _identity(run: Result) -> dict[str, object]:
    names = ("status", "error", "method", "data", "net", "source", "target", "seed", "config_hash", "git_commit")
    return {name: getattr(run, name) for name in names} | {
        "selection_metric": run.selection_metric,
        "folder": str(run.folder),
    }
