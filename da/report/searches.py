"""Searches by Optuna: what each trial scored, and which of the options mattered."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from da.report.plots import ACCENT, BAD, NEUTRAL, figure
from da.report.section import Section
from da.report.tables import Sheet

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

JOURNAL, DATABASES = ".journal", (".db", ".sqlite")
SHOWN = 20
"""Trials in the table, the best ones."""
ENDED = {"COMPLETE": "done", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting", "FAIL": "failed"}
"""Optuna's states in the order of the table, and what they are called."""


def study_files(paths: Sequence[str | Path]) -> list[Path]:
    """Return the files of studies among `paths`, and the journals below those that are folders."""
    given = [Path(path) for path in paths]
    files = [path for path in given if is_study_file(path)]
    return [*files, *(file for path in given if path.is_dir() for file in sorted(path.rglob(f"*{JOURNAL}")))]


def is_study_file(path: str | Path) -> bool:
    """Whether the name of a path is that of a file of studies."""
    return Path(path).suffix in (JOURNAL, *DATABASES)


def read_studies(files: Sequence[Path]) -> list["Study"]:
    """Return every study in these files. Raises FileNotFoundError for a missing one, ImportError without Optuna."""
    try:
        import optuna

        from da.sweep.search import open_storage
    except ImportError as error:
        raise ImportError(f"{files[0]} is of a search, and needs Optuna: pip install 'lambda-da[optuna]'") from error
    studies = []
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} doesn't exist: give the file of a search, or the folder of its runs")
        storage = open_storage(str(file) if file.suffix == JOURNAL else f"sqlite:///{file}")
        studies += [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    return studies


def search_section(studies: Sequence["Study"]) -> Section:
    """Two figures and a table for each study."""
    text = [
        "The objective of a search is a validator at the epoch that it selects; it reads no target label. The line is "
        "the best so far; a trial that was pruned stands where it was given up. The importance of an option is the "
        "share of the variance over the completed trials that a random forest explains by it (fANOVA): with few "
        "trials, a hint."
    ]
    figures, sheets = [], []
    for study in studies:
        trials = study.get_trials(deepcopy=False)
        figures.append(_history(study.study_name, trials))
        weights = importance(study)
        if weights:
            figures.append(_bars(study.study_name, weights))
        else:
            text.append(f"{study.study_name}: too few trials were completed for the importance of its options.")
        sheets.append(_sheet(study.study_name, trials))
    return Section("search", "Searches", text, figures, sheets)


def importance(study: "Study") -> dict[str, float]:
    """Return the importance of each option; nothing unless two completed trials scored differently."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    values = {trial.value for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    if len(values) < 2:
        return {}
    return dict(get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0)))


def best_so_far(trials: Sequence["FrozenTrial"]) -> list[tuple[int, float]]:
    """Return number and value of the best among the completed trials up to each of them."""
    found: list[tuple[int, float]] = []
    for trial in trials:
        if trial.state.name == "COMPLETE" and trial.value is not None:
            found.append((trial.number, max(trial.value, found[-1][1]) if found else trial.value))
    return found


def _history(name: str, trials: Sequence["FrozenTrial"]) -> dict[str, Any]:
    best = best_so_far(trials)
    line = {"type": "scatter", "mode": "lines", "name": "best so far", "line": {"color": ACCENT, "shape": "hv"}}
    data = [line | {"x": [number for number, _ in best], "y": [value for _, value in best]}]
    styles = (("COMPLETE", "completed", ACCENT, "circle"), ("PRUNED", "pruned", NEUTRAL, "circle-open"))
    for state, label, colour, symbol in styles:
        shown = [trial for trial in trials if trial.state.name == state and trial.value is not None]
        data.append(_points(label, shown, [trial.value for trial in shown], colour, symbol))
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    values = [trial.value for trial in trials if trial.value is not None]
    if failed and values:
        data.append(_points("failed", failed, [min(values)] * len(failed), BAD, "x"))
    below = {"title": {"text": "trial"}}
    return figure(f"{name}: objective of each trial", data, xaxis=below, yaxis={"zeroline": False}, showlegend=True)


def _points(
    label: str, trials: Sequence["FrozenTrial"], values: Sequence[float | None], colour: str, symbol: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label,
        "x": [trial.number for trial in trials],
        "y": list(values),
        "text": [f"trial {trial.number}<br>{_options(trial, '<br>')}" for trial in trials],
        "hovertemplate": "%{text}<br>%{y:.4g}<extra>%{fullData.name}</extra>",
        "marker": {"color": colour, "symbol": symbol, "size": 8},
    }


def _bars(name: str, weights: dict[str, float]) -> dict[str, Any]:
    names = list(weights)[::-1]
    data: dict[str, Any] = {"type": "bar", "orientation": "h", "x": [weights[key] for key in names], "y": names}
    data |= {"marker": {"color": ACCENT}, "hovertemplate": "%{y}: %{x:.2f}<extra></extra>"}
    return figure(f"{name}: importance of each option", [data], 90 + 28 * len(names), xaxis={"range": [0, 1]})


def _sheet(name: str, trials: Sequence["FrozenTrial"]) -> Sheet:
    states = list(ENDED)
    ranked = sorted(trials, key=lambda trial: (states.index(trial.state.name), -(trial.value or 0.0), trial.number))
    lines = [
        [
            _options(trial, " ") + (f" ({trial.user_attrs['reason']})" if "reason" in trial.user_attrs else ""),
            *(str(trial.number), ENDED[trial.state.name], "-" if trial.value is None else f"{trial.value:.4g}"),
        ]
        for trial in ranked[:SHOWN]
    ]
    more = f", the best {SHOWN} of {len(ranked)} trials" if len(ranked) > SHOWN else ""
    return Sheet(f"{name}{more}", ["options", "trial", "ended", "objective"], lines)


def _options(trial: "FrozenTrial", between: str) -> str:
    return between.join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in trial.params.items()
    )
