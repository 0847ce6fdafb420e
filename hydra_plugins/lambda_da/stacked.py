"""hydra/launcher=stacked: the jobs of a sweep in one process, those that differ in weights lambda only at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from da.settings import check_settings
from da.stacked.jobs import Stacks
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
        stacks = Stacks(lambda job: self._resolved(job_overrides[job], initial_job_idx + job), job_overrides)
        returns = []
        for job, overrides in enumerate(job_overrides):
            stacks.train(job)
            returns.append(
                run_job(
                    hydra_context=self.hydra_context,
                    task_function=self.task_function,
                    config=self._composed(overrides, initial_job_idx + job),
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return returns

    def _composed(self, overrides: Sequence[str], number: int) -> DictConfig:
        config: DictConfig = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config

    def _resolved(self, overrides: Sequence[str], number: int) -> DictConfig:
        """Return the config that the job's task will get, without references, which need Hydra's own part of it.

        Raises ValueError or TypeError for settings that there are not.
        """
        config = self._composed(overrides, number)
        before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(config)
        try:
            folder = Path(str(config.hydra.sweep.dir)) / str(config.hydra.sweep.subdir)
            known: Any = HydraConfig.instance().cfg
            with read_write(known.hydra.runtime), open_dict(known.hydra.runtime):
                known.hydra.runtime.output_dir = str(folder.absolute())
            with read_write(config), open_dict(config):
                del config["hydra"]  # what refers to it asks HydraConfig
            check_settings(config)
            OmegaConf.resolve(config)
        finally:
            HydraConfig.instance().cfg = before
        return config
