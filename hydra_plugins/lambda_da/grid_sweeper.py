"""`da train -m` without a search."""

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from da.sweep.endings import ENDINGS, advice, table
from da.sweep.launch import AccountingLauncher


class GridSweeper(BasicSweeper):
    """Hydra's sweeper over every combination, whose jobs are accounted for."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = AccountingLauncher()
        self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        returned = super().sweep(arguments)
        print(table(ENDINGS), *advice(ENDINGS), sep="\n", flush=True)
        return returned
