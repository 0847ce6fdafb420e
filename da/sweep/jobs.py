"""The jobs of a sweep before they are launched: where each will run, and whether it has to."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from da.compose import one_line
from da.record import RESULTS_FILE, finished, recorded
from da.settings import config_hash
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
    before = HydraConfig.instance().cfg
    jobs: list[Job] = []
    endings: list[Ending] = []
    try:
        for number, overrides in enumerate(job_overrides, first):
            said = options(overrides)
            try:
                found = _compose(context, config, overrides, number)
            except Exception as error:
                # Names are resolved outside of what Hydra guards: one such job would end the sweep of all others.
                endings.append(Ending(number, said, "failed", one_line(error)))
                continue
            folder, cfg = found
            if finished(folder, cfg) and not cfg.force:
                results = recorded(folder, config_hash(cfg))
                score = selected_score(results, cfg.selection_metric)
                endings.append(Ending(number, said, "skipped", f"{folder} is complete already", score))
            else:
                jobs.append(Job(number, [*overrides, _here(config)], folder))
    finally:
        HydraConfig.instance().cfg = before
    return jobs, endings


def _here(config: DictConfig) -> str:
    """Return the override that makes the place of the runs absolute: a worker of Ray stands where its head started."""
    quoted = str(Path(str(config.hydra.sweep.dir)).absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return f"hydra.sweep.dir='{quoted}'"


def _compose(
    context: HydraContext, config: DictConfig, overrides: Sequence[str], number: int
) -> tuple[Path, DictConfig]:
    """Return the folder of a job and its config, as Hydra will when it runs it."""
    cfg = context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(cfg):
        cfg.hydra.job.num = number
        cfg.hydra.job.id = str(number)
        HydraConfig.instance().set_config(cfg)
        folder = Path(str(cfg.hydra.sweep.dir), str(OmegaConf.select(cfg, "hydra.sweep.subdir")))
        del cfg["hydra"]
    return folder, cfg
