"""`da train -m hydra/sweeper=optuna`; Hydra imports this whether Optuna is installed or not."""

from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from da.sweep.endings import ENDINGS, TRIAL, table
from da.sweep.launch import AccountingLauncher


class OptunaSweeper(Sweeper):
    """Maximises the selection metric, a validator, over what the command line leaves open.

    Args:
        options: of `da.sweep.search.Settings`.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.jobs = AccountingLauncher()
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context = config, hydra_context
        self.jobs.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        assert self.config is not None
        assert self.context is not None
        try:
            from da.sweep.search import Search, Settings, trial_variable
            from da.sweep.space import read_space
        except ImportError as error:
            raise HydraException("hydra/sweeper=optuna needs Optuna: pip install 'lambda-da[optuna]'") from error
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        space, fixed = read_space(parser.parse_overrides(arguments))
        if self.config.selection_metric == "oracle" or "selection_metric" in space:
            raise HydraException(
                "a search maximises one validator, which selection_metric names: not several, and not oracle, "
                "which reads the target labels that the search is to do without"
            )
        settings = Settings(**self.options)
        choices = self.config.hydra.runtime.choices
        name = "-".join(choices[group] for group in ("data", "method") if group not in space) or "search"
        try:
            search = Search(settings, space, fixed, name)
        except ValueError as error:
            raise HydraException(str(error)) from error
        number = 0
        while trials := search.ask():
            jobs = [
                [*words, f"++hydra.job.env_set.{TRIAL}='{trial_variable(settings.storage, trial)}'"]
                for trial, words in trials
            ]
            for (trial, _), ending in zip(trials, self.jobs.account(jobs, number), strict=True):
                search.tell(trial, ending)
            number += len(trials)
        print(*([table(ENDINGS)] if ENDINGS else []), search.summary(), sep="\n", flush=True)
