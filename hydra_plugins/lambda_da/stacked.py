"""hydra/launcher=stacked: the jobs of a sweep in one process, those that differ in weights lambda only at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from da.stacked.jobs import Stacks
from da.sweep.jobs import compose_job, load_job
from hydra_plugins.lambda_da.composition import Compositions


class StackedLauncher(Launcher):
    """Runs jobs one after the other, as Hydra's basic launcher does, after training what it can of them at once."""

    def __init__(self) -> None:
        self.config: Any = None
        self.task_function: Any = None
        self.hydra_context: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        # The sweeper, which tries all configs before the first job is launched, has the same context.
        hydra_context.config_loader = Compositions(hydra_context.config_loader)  # type: ignore[assignment]
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        returns = []
        stacks = Stacks(
            lambda job: compose_job(self.hydra_context, self.config, job_overrides[job], initial_job_idx + job),
            job_overrides,
        )
        for job, overrides in enumerate(job_overrides):
            stacks.train(job)
            returns.append(
                run_job(
                    hydra_context=self.hydra_context,
                    task_function=self.task_function,
                    config=load_job(self.hydra_context, self.config, overrides, initial_job_idx + job),
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return returns
