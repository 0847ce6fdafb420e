"""A launcher around each launcher of `da train -m`."""

from collections.abc import Sequence

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from da.compose import one_line
from da.sweep.endings import ENDINGS, Ending, Outcome
from da.sweep.jobs import Job, prepare
from da.sweep.lost import returned_when_lost


class AccountingLauncher(Launcher):
    """Leaves out jobs that are complete, hands the others to the configured launcher, keeps how each one ended.

    A sweeper gets the score of a job, or None where there is none: a job that fails does not end the sweep.
    """

    def __init__(self) -> None:
        self.inner: Launcher | None = None
        self.name = ""
        self.context: HydraContext | None = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Build the configured launcher; HydraException if it is not installed."""
        self.name = str(config.hydra.runtime.choices["hydra/launcher"])
        self.context, self.config = hydra_context, config
        plugins = Plugins.instance()
        if config.hydra.launcher._target_ not in plugins.class_name_to_class:
            extra = self.name.partition("_")[0]
            raise HydraException(f"hydra/launcher={self.name} is not installed: pip install 'lambda-da[{extra}]'")
        self.inner = plugins.instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return [
            JobReturn(status=JobStatus.COMPLETED, _return_value=ending.score)
            for ending in self.account(job_overrides, initial_job_idx)
        ]

    def account(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Ending]:
        """Run jobs, numbered from `first`, and return how they ended, in their order."""
        assert self.context is not None
        assert self.config is not None
        jobs, endings = prepare(self.context, self.config, job_overrides, first)
        endings += self._launch(jobs, first) if jobs else []
        endings.sort(key=lambda ending: ending.number)
        ENDINGS.extend(endings)
        return endings

    def _launch(self, jobs: list[Job], first: int) -> list[Ending]:
        assert self.inner is not None
        try:
            with returned_when_lost(self.name):
                returned = self.inner.launch([job.overrides for job in jobs], first)
        except Exception as error:  # the launcher itself: a worker of joblib was killed, Ray is not there, no sbatch
            broken = f"the launcher {self.name} broke: {one_line(error)}"
            return [job.left(broken) for job in jobs]
        return [_ending(job, result) for job, result in zip(jobs, returned, strict=True)]


def _ending(job: Job, result: JobReturn) -> Ending:
    value = result._return_value
    if result.status != JobStatus.COMPLETED:
        return Ending(job.number, job.options, "failed", one_line(value))
    outcome = Outcome(*value)
    return Ending(job.number, job.options, outcome.state, outcome.reason, outcome.score)
