"""hydra/launcher=stacked: the jobs of a sweep that differ in weights lambda and seeds only are trained at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from da.stacked.jobs import Stacks, shares
from da.sweep.jobs import compose_job, load_job
from hydra_plugins.lambda_da.composition import Compositions


class StackedLauncher(Launcher):
    """Runs jobs one after the other, as Hydra's basic launcher does, after training what it can of them at once.

    Args:
        n_jobs: processes that share the jobs, each with stacks of its own; as in joblib, -1 are as many as cores.
    """

    def __init__(self, n_jobs: int = 1) -> None:
        self.n_jobs = n_jobs
        self.config: Any = None
        self.task_function: Any = None
        self.hydra_context: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        if not isinstance(self.n_jobs, int) or self.n_jobs == 0:
            raise HydraException(
                f"hydra.launcher.n_jobs={self.n_jobs}: expected a number of processes, -1 for one on each core"
            )
        # The sweeper, which tries all configs before the first job is launched, has the same context.
        hydra_context.config_loader = Compositions(hydra_context.config_loader)  # type: ignore[assignment]
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from joblib import Parallel, delayed, effective_n_jobs  # Hydra imports this file at every start of `da`

        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        jobs = list(enumerate(job_overrides, initial_job_idx))
        processes = effective_n_jobs(self.n_jobs)
        parts = shares(job_overrides, processes)
        if len(parts) == 1:
            return self.run(jobs)
        state = Singleton.get_state()
        workers = Parallel(n_jobs=min(processes, len(parts)), batch_size=1)
        done = workers(delayed(_run_in_worker)(self, [jobs[place] for place in part], state) for part in parts)
        returned = {
            place: one for part, own in zip(parts, done, strict=True) for place, one in zip(part, own, strict=True)
        }
        return [returned[place] for place in range(len(jobs))]

    def run(self, jobs: Sequence[tuple[int, Sequence[str]]]) -> list[JobReturn]:
        """Run jobs, each with its number, in this process."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        returns = []
        stacks = Stacks(
            lambda place: compose_job(self.hydra_context, self.config, jobs[place][1], jobs[place][0]),
            [overrides for _, overrides in jobs],
        )
        for place, (number, overrides) in enumerate(jobs):
            stacks.train(place)
            returns.append(
                run_job(
                    hydra_context=self.hydra_context,
                    task_function=self.task_function,
                    config=load_job(self.hydra_context, self.config, overrides, number),
                    job_dir_key="hydra.sweep.dir",
                    job_subdir_key="hydra.sweep.subdir",
                )
            )
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return returns


def _run_in_worker(
    launcher: StackedLauncher, jobs: Sequence[tuple[int, Sequence[str]]], state: dict[Any, Any]
) -> list[JobReturn]:
    Singleton.set_state(state)  # what Hydra keeps of the application: searchpath, resolvers, mode
    return launcher.run(jobs)
