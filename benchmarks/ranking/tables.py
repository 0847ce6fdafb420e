"""Write table.md of scores/*.csv, which `da rank` wrote, and of results.csv, the runs of the same candidates."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from da.rank.scores import LABEL_FREE, WITH_LABELS, oriented
from da.report.statistics import interval
from da.transfer.agreement import weighted_tau

HERE = Path(__file__).parent
SCORES = (*LABEL_FREE, *WITH_LABELS)
Rows = list[dict[str, str]]


class Ranked(NamedTuple):
    """The candidates of one target, by one score."""

    data: str
    target: str
    tau: float | None
    lost: float  # accuracy of the best candidate less that of the one that the score chose; the mean over a tie


def read(path: Path) -> Rows:
    """The rows of a csv file."""
    return list(csv.DictReader(path.read_text().splitlines()))


def accuracies(method: str) -> dict[tuple[str, ...], float]:
    """Mean target accuracy over the seeds, by (net, data, source, target)."""
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in read(HERE / "results.csv"):
        if row["method"] == method:
            values[key(row)].append(float(row["target_acc_last"]))
    if {len(seeds) for seeds in values.values()} != {3}:
        raise ValueError(f"some candidate was not trained by {method} with three seeds")
    return {candidate: fmean(seeds) for candidate, seeds in values.items()}


def key(row: dict[str, str]) -> tuple[str, ...]:
    """What tells a candidate from the others."""
    return row["net"], row["data"], row["source"], row["target"]


def ranked(labels: str, method: str) -> Iterator[tuple[str, Ranked]]:
    """How every score did on every target that was ranked with these labels."""
    true = accuracies(method)
    for path in sorted((HERE / "scores").glob(f"*-{labels}.csv")):
        rows = read(path)
        for score in SCORES:
            has = [row for row in rows if row.get(score)]
            if len(has) < len(rows):
                continue
            values = [oriented(score, float(row[score])) for row in has]
            worth = [true[key(row)] for row in has]
            first = [w for v, w in zip(values, worth, strict=True) if v == max(values)]
            lost = 100 * (max(worth) - fmean(first))
            yield score, Ranked(rows[0]["data"], rows[0]["target"], weighted_tau(values, worth), lost)


def table(labels: str, method: str) -> list[str]:
    """Markdown: a row for each score, its tau on every target, their mean, and what its choice lost."""
    by_score: dict[str, list[Ranked]] = defaultdict(list)
    for score, found in ranked(labels, method):
        by_score[score].append(found)
    targets = sorted({(one.data, one.target) for found in by_score.values() for one in found})
    lines = ["| score | " + " | ".join(target for _, target in targets) + " | mean | lost |"]
    lines.append("|---|" + "---:|" * (len(targets) + 2))
    for score in sorted(by_score, key=lambda score: -mean_tau(by_score[score])):
        found = {(one.data, one.target): one for one in by_score[score]}
        cells = [_tau(found[target].tau) if target in found else "-" for target in targets]
        lost = _mean([one.lost for one in found.values()], ".1f")
        lines.append(f"| {score} | {' | '.join(cells)} | **{_mean(taus(by_score[score]), '.2f')}** | {lost} |")
    return lines


def taus(found: list[Ranked]) -> list[float]:
    """Tau on every target that has one."""
    return [one.tau for one in found if one.tau is not None]


def mean_tau(found: list[Ranked]) -> float:
    """The mean over the targets; below all others where there is none."""
    return fmean(taus(found)) if taus(found) else -2.0


def _tau(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _mean(values: list[float], form: str) -> str:
    return interval(values).cell(1, form) if values else "-"


def chance(labels: str, method: str) -> str:
    """What a candidate drawn at random would lose, in the mean over the same targets."""
    true, lost = accuracies(method), []
    for path in sorted((HERE / "scores").glob(f"*-{labels}.csv")):
        worth = [100 * true[key(row)] for row in read(path)]
        lost.append(max(worth) - fmean(worth))
    return f"A candidate drawn at random loses {_mean(lost, '.1f')}."


def page() -> str:
    """The whole page."""
    methods = sorted({row["method"] for row in read(HERE / "results.csv")})
    parts = ["# Scores before training, and accuracies after it"]
    for method in methods:
        for labels, said in (
            ("few", "target labels: three of each class"),
            ("all", "ORACLE: at most 1,000 target labels"),
        ):
            if not list((HERE / "scores").glob(f"*-{labels}.csv")):
                continue
            lines = "\n".join(table(labels, method))
            parts.append(
                f"## `method={method}`, {said}\n\n"
                "Weighted Kendall's τ of each score, turned so that larger is better, with the candidates' target "
                "accuracies (means of 3 seeds); mean ± 95 % interval over the targets. Lost: accuracy of the best "
                "candidate less that of the chosen one, in points, mean ± 95 % interval. "
                f"{chance(labels, method)}\n\n{lines}"
            )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    (HERE / "table.md").write_text(page())
