"""What could make the numbers wrong: leaks, other data, target labels, statistics, runs that failed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from da.report.results import Repetitions, Result
from da.report.section import Section
from da.report.tables import Sheet, notes_on

FITTED_ON = {
    "source": "the source's training rows (all sources together)",
    "each": "every domain's own training rows, without labels; hides that domains differ in scale and location",
}


def failed_section(results: Sequence[Result]) -> Section:
    """Runs that are not complete, each with its reason; none of them is in any number."""
    failed = [run for run in results if run.status != "complete"]
    if not failed:
        return Section("failed", "Failed runs", ["Every run that was found is complete."])
    lines = [
        [run.status, run.method, run.data, str(run.seed), _reason(run), str(run.folder)]
        for run in sorted(failed, key=lambda run: (run.method, run.folder))
    ]
    text = [f"{len(failed)} of {len(results)} runs are not complete, and are in no number of this report."]
    columns = ["status", "method", "data", "seed", "reason", "folder"]
    return Section("failed", "Failed runs", text, sheets=[Sheet("Failed runs", columns, lines)])


def _reason(run: Result) -> str:
    return " ".join((run.error or "no end was written: at work still, or killed").split())


def audit_section(rows: Sequence[Repetitions], results: Sequence[Result]) -> Section:
    """Leaks, hashes of the data, uses of target labels, and what was fitted on which rows; and notes on the runs."""
    runs = [run for row in rows for run in row.runs]
    leaks, said = _leaks(runs)
    hashes, differ = _hashes(runs)
    text = [said, differ, *(f"{note[0].upper()}{note[1:]}." for note in notes_on(results, rows) if "†" not in note)]
    return Section("audit", "Audit", text, sheets=[*leaks, _labels(rows), _statistics(runs), *hashes])


def _leaks(runs: Sequence[Result]) -> tuple[list[Sheet], str]:
    read = [run for run in runs if run.data_file is not None]
    found: dict[tuple[str, str, str], int] = defaultdict(int)
    for run in read:
        for notice in run.data_file.get("notices", ()) if run.data_file is not None else ():
            if str(notice).startswith("leak:"):
                found[run.data, run.task, str(notice)] += 1
    said = f"{len(read)} of {len(runs)} complete runs have a data.json to look for leaks in"
    if not read:
        return [], f"{said}: whether rows are in training and test alike is not known."
    if not found:
        return [], f"{said}: none names one."
    lines = [[data, task, leak, str(n)] for (data, task, leak), n in sorted(found.items())]
    sheet = Sheet("LEAKS: rows that are in training and test alike", ["data", "task", "leak", "runs"], lines)
    return [sheet], f"{said}: {len(found)} LEAKS were found, see the table."


def _hashes(runs: Sequence[Result]) -> tuple[list[Sheet], str]:
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for run in runs:
        for domain, digest in run.data_hashes.items():
            found[run.data, domain][digest] += 1
    if not found:
        return [], "No run has the hashes of its data: whether all read the same is not known."
    lines = [
        [data, domain, digest[:12], str(n)]
        for (data, domain), by_hash in sorted(found.items())
        for digest, n in by_hash.items()
    ]
    sheet = Sheet("What was read: the first 12 digits of sha256", ["data", "domain", "hash", "runs"], lines)
    if several := [f"{data} {domain}" for (data, domain), by_hash in sorted(found.items()) if len(by_hash) > 1]:
        return [sheet], f"The runs did NOT READ THE SAME DATA of {', '.join(several)}: their hashes differ."
    return [sheet], "All runs read the same data: one hash for each domain."


def _labels(rows: Sequence[Repetitions]) -> Sheet:
    lines = []
    for row in rows:
        uses = [f"stream {use!r}" for use in row.target_labels if use != "selection"]
        if any("selection" in run.target_labels or run.selection_metric == "oracle" for run in row.runs):
            uses.append("selection of the epoch (selection_metric=oracle): the column selected is an ORACLE")
        if most := max(run.validation_labels for run in row.runs):
            uses.append(f"validators that ask for some: {most}")
        lines.append([row.data, row.name, "; ".join(uses) or "none", str(len(row.runs))])
    return Sheet("Target labels that were opened, and by whom", ["data", "method", "labels", "runs"], lines)


def _statistics(runs: Sequence[Result]) -> Sheet:
    """What data.json's `state` holds, which was learnt from data, and on which rows by `data.standardise`."""
    found: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for run in runs:
        for fitted, on in _fitted(run):
            found[run.data, run.task, fitted, on] += 1
    lines = [[*key, str(n)] for key, n in sorted(found.items())]
    return Sheet(
        "Statistics of the data, and the rows they were fitted on", ["data", "task", "fitted", "on", "runs"], lines
    )


def _fitted(run: Result) -> list[tuple[str, str]]:
    if run.data_file is None:
        return [("not known: no data.json", "-")]
    state: Mapping[str, Any] = run.data_file.get("state") or {}
    found = []
    if "scale" in state:
        rule = str(((run.config or {}).get("data") or {}).get("standardise", "not known"))
        wide = len(state["scale"].get("mean", ()))
        found.append(
            (f"mean and standard deviation of {wide} features", f"{FITTED_ON.get(rule, rule)} (standardise={rule})")
        )
    if (
        categories := (state.get("columns") or {}).get("categories")
        if isinstance(state.get("columns"), Mapping)
        else None
    ):
        found.append((f"values of {len(categories)} categorical columns", "tables of all domains, without labels"))
    if "classes" in state:
        found.append((f"names of {len(state['classes'])} classes", "labels by their names"))
    return found or [("nothing", "-")]
