"""The jobs of a sweep before they are launched: where each will run, and whether it has to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from da.compose import one_line, path_override
from da.record import RESULTS_FILE, finished, recorded, shown
from da.settings import check_settings, config_hash
from da.sweep.endings import Ending, selected_score


@dataclass(frozen=True)
class Job:
    """A job that is to be launched."""

    number: int
    overrides: Sequence[str]
    folder: Path

    @property
    def options(self) -> str:
        """The words of the command line that make this job."""
        return options(self.overrides)

    def left(self, broken: str) -> Ending:
        """Return how this job ended by what its folder says, after its launcher broke with that message."""
        try:
            results = json.loads((self.folder / RESULTS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Ending(self.number, self.options, "failed", f"not started: {broken}")
        if results["status"] == "complete":
            score = selected_score(results, results["selection_metric"])
            return Ending(self.number, self.options, "done", score=score)
        reason = results["error"] or f"stopped in the middle: {broken}"
        return Ending(self.number, self.options, "failed", " ".join(reason.split()))


def options(overrides: Sequence[str]) -> str:
    """Return these overrides without those that are for Hydra."""
    return " ".join(word for word in overrides if not word.lstrip("+").startswith("hydra."))


def prepare(
    context: HydraContext, config: DictConfig, job_overrides: Sequence[Sequence[str]], first: int
) -> tuple[list[Job], list[Ending]]:
    """Compose every job; return those to launch, and the endings of those that are complete or can't be composed."""
    setup_globals()
    jobs: list[Job] = []
    endings: list[Ending] = []
    for number, overrides in enumerate(job_overrides, first):
        said = options(overrides)
        try:
            cfg = compose_job(context, config, overrides, number)
        except Exception as error:
            # Names are resolved outside of what Hydra guards: one such job would end the sweep of all others.
            endings.append(Ending(number, said, "failed", one_line(error)))
            continue
        folder = Path(cfg.run_dir)
        if finished(folder, cfg) and not cfg.force:
            results = recorded(folder, config_hash(cfg))
            score = selected_score(results, cfg.selection_metric)
            endings.append(Ending(number, said, "skipped", f"{shown(folder)} is complete already", score))
        else:
            jobs.append(Job(number, [*overrides, _here(config)], folder))
    return jobs, endings


def _here(config: DictConfig) -> str:
    """Return the override that makes the place of the runs absolute: a worker of Ray stands where its head started."""
    return path_override("hydra.sweep.dir", Path(str(config.hydra.sweep.dir)).absolute())


def load_job(context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    """Return the config of a job of a sweep as Hydra's `run_job` takes it."""
    cfg: DictConfig = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.job.id = cfg.hydra.job.num = str(number)
    return cfg


def compose_job(context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    """Return the config that the task of a job will get, without references to Hydra's own part of it.

    Raises ValueError or TypeError for settings that there are not, and what Hydra raises for names.
    """
    cfg = load_job(context, config, overrides, number)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        known: Any = HydraConfig.instance().cfg
        folder = Path(str(cfg.hydra.sweep.dir)) / str(cfg.hydra.sweep.subdir)
        with read_write(known.hydra.runtime), open_dict(known.hydra.runtime):
            known.hydra.runtime.output_dir = str(folder.absolute())
        with read_write(cfg), open_dict(cfg):
            del cfg["hydra"]  # what refers to it asks HydraConfig, which is another job's later
            cfg.run_dir, cfg.names = cfg.run_dir, OmegaConf.to_container(cfg.names, resolve=True)
        check_settings(cfg)
    finally:
        HydraConfig.instance().cfg = before
    return cfg
