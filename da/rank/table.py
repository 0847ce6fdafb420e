"""The ranking as tables, for people and for programs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from da.rank.scores import LABEL_FREE, SMALLER_IS_BETTER, WITH_LABELS, oriented
from da.report.statistics import Interval
from da.report.tables import Record, Report, Sheet
from da.transfer.agreement import FEWEST, weighted_tau

if TYPE_CHECKING:
    from da.rank.candidates import Candidate

SAID_OF_LABELS = {
    "none": "no target label was read",
    "few": "target labels: data.labels_per_class of each class, the rows of the stream labeled",
    "all": "ORACLE: all target labels were read",
}


def ranking(
    candidates: Sequence["Candidate"], by: str, labels: str, accuracies: Mapping[str, Interval] | None, method: str = ""
) -> Report:
    """Candidates, best first by one score, with all scores, and their agreement with accuracies, which are by label.

    A candidate without that score comes last and has no rank.
    """
    order = sorted(candidates, key=lambda c: (by not in c.scores, -oriented(by, c.scores.get(by, 0.0))))
    names = [name for name in (*LABEL_FREE, *WITH_LABELS) if any(name in {*c.scores, *c.missing} for c in order)]
    head = ["rank", "candidate", by, *(["accuracy"] if accuracies else []), "rows", "seconds"]
    rows = [
        [
            str(i) if by in c.scores else "-",
            c.label,
            _shown(c.scores.get(by)),
            *([_percent(accuracies.get(c.label))] if accuracies else []),
            str(c.rows),
            f"{c.seconds:.1f}",
        ]
        for i, c in enumerate(order, start=1)
    ]
    columns = ["score", *map(str, range(1, len(order) + 1)), *(["tau"] if accuracies else [])]
    table = []
    for name in names:
        tau = [_shown(agreement(name, candidates, accuracies)[0])] if accuracies else []
        table.append([name, *(_shown(c.scores.get(name)) for c in order), *tau])
        if name == "a_distance":
            intervals = ["-" if c.interval is None else f"{c.interval.low:.2f}..{c.interval.high:.2f}" for c in order]
            table.append(["  95 % interval", *intervals, *([""] * len(tau))])
    fields = ["rank", "candidate", "net", "data", "source", "target", "target_labels", *names]
    fields += ["a_distance_low", "a_distance_high", "rows", "seconds", "method", "accuracy", "seeds"]
    records = [_record(i, c, by, labels, accuracies or {}, method) for i, c in enumerate(order, start=1)]
    oracle = ", an ORACLE" if labels == "all" else ""
    better = "smaller" if by in SMALLER_IS_BETTER else "larger"
    title = f"Candidates for the target {order[0].target}, best first by {by} ({better} is better){oracle}"
    notes = [SAID_OF_LABELS[labels], *_notes(order, by), *_of_agreement(candidates, accuracies, method)]
    return Report(title, [Sheet("ranking", head, rows), Sheet("scores", columns, table)], fields, records, notes)


def agreement(
    name: str, candidates: Sequence["Candidate"], accuracies: Mapping[str, Interval]
) -> tuple[float | None, int]:
    """Return weighted tau of a score, turned so that larger is better, with the accuracies, and of how many it is."""
    both = [c for c in candidates if name in c.scores and c.label in accuracies]
    values = [oriented(name, c.scores[name]) for c in both]
    return weighted_tau(values, [accuracies[c.label].mean for c in both]), len(both)


def _record(rank: int, c: "Candidate", by: str, labels: str, accuracies: Mapping[str, Interval], method: str) -> Record:
    found = accuracies.get(c.label)
    return {
        "rank": rank if by in c.scores else None,
        **{"candidate": c.label, "net": c.net, "data": c.data, "source": c.source, "target": c.target},
        "target_labels": labels,
        **dict.fromkeys(c.missing),
        **c.scores,
        "a_distance_low": c.interval.low if c.interval else None,
        "a_distance_high": c.interval.high if c.interval else None,
        "rows": c.rows,
        "seconds": round(c.seconds, 1),
        "method": method if found else None,
        "accuracy": found.mean if found else None,
        "seeds": found.n if found else None,
    }


def _notes(order: Sequence["Candidate"], by: str) -> list[str]:
    notes = ["of a_distance and mmd smaller is better, of all others larger"]
    if len(order) == 1:
        notes.append("one candidate: there is nothing to choose between")
    values = [c.scores[by] for c in order if by in c.scores]
    if len(set(values)) < len(values):
        notes.append(f"some have the same {by}: it does not tell them apart, and among them the order says nothing")
    reasons: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, c in enumerate(order, start=1):
        for name, reason in c.missing.items():
            reasons[name, reason].append(i)
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (name, reason), where in reasons.items():
        by_reason[reason, ", ".join(map(str, where))].append(name)
    return notes + [f"no {', '.join(named)} of {where}: {reason}" for (reason, where), named in by_reason.items()]


def _of_agreement(
    candidates: Sequence["Candidate"], accuracies: Mapping[str, Interval] | None, method: str
) -> list[str]:
    if not accuracies:
        return []
    n, lacking = len(accuracies), len(candidates) - len(accuracies)
    said = f"tau: weighted Kendall's of each score, better as larger, with the target accuracy of {method}, n = {n}"
    few = f"; fewer than {FEWEST} candidates have no tau" if n < FEWEST else ""
    return [said + few, *([f"without runs of {method}: {lacking} of the candidates"] if lacking else [])]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _percent(cell: Interval | None) -> str:
    return "-" if cell is None else cell.cell()
