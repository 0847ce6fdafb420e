"""A study of Optuna: which trials to run, and what became of them."""

import hashlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from da.sweep.endings import Ending

optuna.logging.set_verbosity(optuna.logging.WARNING)

STARTUP_TRIALS, STARTUP_EPOCHS = "startup_trials", "startup_epochs"
OPTIONS, REASON, PROCESS = "options", "reason", "process"
"""User attributes of a study or a trial."""


def open_storage(storage: str) -> BaseStorage:
    """Return the storage at a URL of a database, or in a journal, which is a file that grows."""
    if "://" in storage:
        return _database(storage)
    Path(storage).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(storage))


def _database(url: str, attempts: int = 5) -> BaseStorage:
    """Open a database, which is made if need be: of processes that do this at the same moment, all but one fail."""
    for _ in range(attempts - 1):
        try:
            return optuna.storages.RDBStorage(url)
        except SQLAlchemyError:
            time.sleep(1)
    return optuna.storages.RDBStorage(url)


@dataclass(frozen=True)
class Settings:
    """What conf/hydra/sweeper/optuna.yaml says."""

    storage: str
    study: str | None
    n_trials: int
    n_jobs: int
    seed: int
    startup_trials: int
    startup_epochs: int


class Search:
    """The trials of a study, which other processes may run too.

    Args:
        settings: of the search.
        space: what is searched.
        fixed: the other options.
        name: of the study, where the settings have none.

    Raises:
        ValueError: the study is there already, and it is of other options.
    """

    def __init__(
        self, settings: Settings, space: Mapping[str, BaseDistribution], fixed: Sequence[str], name: str
    ) -> None:
        self.settings, self.space, self.fixed = settings, dict(space), list(fixed)
        options = sorted([*fixed, *(f"{key}: {one}" for key, one in space.items())])
        hashed = hashlib.sha256("\n".join(options).encode()).hexdigest()[:8]
        self.study = optuna.create_study(
            study_name=settings.study or f"{name}-{hashed}",
            storage=open_storage(settings.storage),
            direction="maximize",
            load_if_exists=True,
        )
        found = self.study.user_attrs.get(OPTIONS, options)
        if found != options:
            raise ValueError(
                f"the study {self.study.study_name} in {settings.storage} is of other options "
                f"({'; '.join(sorted({*found} ^ {*options}))}): give hydra.sweeper.study another name"
            )
        for key, value in (
            (OPTIONS, options),
            (STARTUP_TRIALS, settings.startup_trials),
            (STARTUP_EPOCHS, settings.startup_epochs),
        ):
            self.study.set_user_attr(key, value)
        self._give_up_lost_trials()

    def ask(self) -> list[tuple[Trial, list[str]]]:
        """Return as many trials as may run now, at most `n_jobs`, each with the words of its command line."""
        known = [trial for trial in self.study.get_trials(deepcopy=False) if _counts(trial)]
        number = min(self.settings.n_jobs, self.settings.n_trials - len(known))
        return [self._ask() for _ in range(number)]

    def _ask(self) -> tuple[Trial, list[str]]:
        trial = self.study.ask()
        # By the number of the trial: processes that share a study, and a search that goes on, draw other ones.
        self.study.sampler = optuna.samplers.TPESampler(
            seed=self.settings.seed + trial.number, n_startup_trials=self.settings.startup_trials
        )
        trial.set_user_attr(PROCESS, f"{socket.gethostname()} {os.getpid()}")
        values = {key: trial._suggest(key, distribution) for key, distribution in self.space.items()}
        return trial, [*self.fixed, *(f"{key}={value}" for key, value in values.items())]

    def tell(self, trial: Trial, ending: Ending) -> None:
        """Write down how a trial ended; one without a score has failed."""
        if ending.state == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        elif ending.score is not None:
            self.study.tell(trial, ending.score)
        else:
            trial.set_user_attr(REASON, ending.reason or "no score")
            self.study.tell(trial, state=TrialState.FAIL)

    def _give_up_lost_trials(self) -> None:
        """Queue trials again whose process on this machine is gone: it was killed, and so they never ended."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            host, _, process = trial.user_attrs.get(PROCESS, "").partition(" ")
            if host == socket.gethostname() and not Path("/proc", process).exists():
                self.study.tell(trial.number, state=TrialState.FAIL)
                self.study.enqueue_trial(trial.params)

    def summary(self) -> str:
        """Return the best trial in one line."""
        study = self.study
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not trials:
            return f"study {study.study_name}: no trial came out"
        best = study.best_trial
        options = " ".join(f"{key}={value}" for key, value in best.params.items())
        return f"study {study.study_name}: best of {len(trials)} is trial {best.number}, {best.value:.4g}, {options}"


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of those that were ordered: not one that waits, nor one whose process was lost."""
    lost = trial.state is TrialState.FAIL and REASON not in trial.user_attrs
    return trial.state is not TrialState.WAITING and not lost


def trial_variable(storage: str, trial: Trial) -> str:
    """Return the value of the variable `TRIAL`."""
    place = storage if "://" in storage else str(Path(storage).absolute())
    return f"{trial._trial_id} {trial.study.study_name} {place}"


def open_trial(variable: str) -> Any:
    """Return the trial that `trial_variable` named, in another process; it knows when it is to be pruned."""
    trial, name, storage = variable.split(" ", 2)
    study = optuna.load_study(study_name=name, storage=open_storage(storage))
    study.pruner = optuna.pruners.MedianPruner(
        n_startup_trials=study.user_attrs[STARTUP_TRIALS], n_warmup_steps=study.user_attrs[STARTUP_EPOCHS]
    )
    return Trial(study, int(trial))
