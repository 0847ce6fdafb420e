"""The jobs of a sweep: which of them can be one stack, and what came of it."""

import re
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from da.record import finished

FREE = re.compile(r"seed=\d+|method\.weights\.[\w.]+=[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
"""The options in which the runs of a stack may differ: the seed, and numbers of the weights lambda."""


def key_of(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return what the jobs of one stack have in common: all options but the seed and the weights lambda."""
    return tuple(f"{option.partition('=')[0]}=" if FREE.fullmatch(option) else option for option in overrides)


def shares(jobs: Sequence[Sequence[str]], processes: int) -> list[list[int]]:
    """Return the numbers of the jobs in parts for so many processes.

    What can be one stack is divided evenly, in the order of the seeds: a process builds data and networks of few seeds.
    """
    if processes == 1:
        return [list(range(len(jobs)))]
    parts = []
    for group in _groups(jobs).values():
        group.sort(key=lambda number: _seed(jobs[number]))
        count = min(processes, len(group))
        ends = [len(group) * end // count for end in range(count + 1)]
        parts += [group[start:stop] for start, stop in pairwise(ends)]
    return parts


def _groups(jobs: Sequence[Sequence[str]]) -> dict[tuple[str, ...], list[int]]:
    """Return the numbers of the jobs by what they have in common."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, overrides in enumerate(jobs):
        groups.setdefault(key_of(overrides), []).append(number)
    return groups


def _seed(overrides: Sequence[str]) -> int:
    return next((int(option.removeprefix("seed=")) for option in overrides if re.fullmatch(r"seed=\d+", option)), 0)


class Stacks:
    """Trains jobs in stacks, and keeps what came of each until it is asked for it.

    Args:
        compose: gives the config of a job, without references to Hydra's own part of it, from its number.
        jobs: the options of each job.
    """

    def __init__(self, compose: Callable[[int], DictConfig], jobs: Sequence[Sequence[str]]) -> None:
        self.compose, self.jobs, self.groups = compose, jobs, _groups(jobs)

    def train(self, number: int) -> None:
        """Train the stack that this job belongs to, unless that was done; `outcomes` has what came of it."""
        group = self.groups.pop(key_of(self.jobs[number]), None)
        if group is None:
            return
        try:
            cfgs = [self.compose(job) for job in group]
        except (ValueError, TypeError):  # the jobs will say what is wrong with their settings
            return
        wanted = [cfg for cfg in cfgs if cfg.force or not finished(Path(cfg.run_dir), cfg)]
        wanted = [cfg for cfg in wanted if not _interrupted(cfg)]  # each of those goes on by itself
        if wanted:
            _train_together(sorted(wanted, key=lambda cfg: cfg.seed))


outcomes: dict[str, Any] = {}
"""By run folder: what results.json says of a run that was trained in a stack, or its error."""


def outcome_of(cfg: DictConfig) -> dict[str, Any] | None:
    """Return once what came of a run that was trained in a stack: None if it was not; its error is raised."""
    outcome = outcomes.pop(str(cfg.run_dir), None)
    if isinstance(outcome, Exception):
        raise outcome
    result: dict[str, Any] | None = outcome
    return result


def _interrupted(cfg: DictConfig) -> bool:
    """Whether the run has a checkpoint in its folder to go on from."""
    from da.resume import saved_state

    return cfg.ckpt_path == "auto" and saved_state(cfg, Path(cfg.run_dir)) is not None


def _train_together(cfgs: Sequence[DictConfig]) -> None:
    """Train these runs, in the order of their seeds, as one stack, or as several; say why not, if not."""
    reason, most = _train(cfgs)
    if reason is None:
        return
    parts = _divided(cfgs, most) if most else [cfgs]
    if len(parts) > 1:
        what = f"{len(parts)} stacks"
    else:
        what = f"{len(cfgs)} runs are trained one after the other" if len(cfgs) > 1 else "one run by itself"
    print(f"{title(cfgs)}: {what}: {reason}", file=sys.stderr, flush=True)
    for part in parts if len(parts) > 1 else ():
        _train_together(part)


def _divided(cfgs: Sequence[DictConfig], most: int) -> list[list[DictConfig]]:
    """Return the runs in parts of at most so many, but none of less than a seed; none at all if runs are alone then."""
    parts: list[list[DictConfig]] = []
    for _, of_seed in groupby(cfgs, key=lambda cfg: cfg.seed):
        own = list(of_seed)
        if parts and len(parts[-1]) + len(own) <= most:
            parts[-1] += own
        else:
            parts.append(own)
    return parts if len(parts) < len(cfgs) else []


def title(cfgs: Sequence[DictConfig]) -> str:
    """Name the method and the seeds of some runs."""
    seeds = list(dict.fromkeys(str(cfg.seed) for cfg in cfgs))
    return f"{cfgs[0].names.method} seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"


def _train(cfgs: Sequence[DictConfig]) -> tuple[str | None, int]:
    """Train these runs as one stack; return why not, if not, and how many of other seeds might be one, 0 for none."""
    if len(cfgs) == 1:
        return "no other run differs from it in its seed or in weights of its terms only", 0
    from da.stacked.reasons import NotStackableError, SeedsDifferError, reason_in_config

    if reason := reason_in_config(cfgs[0]):
        return reason, 0
    from da.stacked.run import run_stack

    try:
        results = run_stack(cfgs)
    except NotStackableError as error:
        return str(error), error.most if isinstance(error, SeedsDifferError) else 0
    except Exception as error:  # whatever it is, a run by itself will say it, or do without it
        if cfgs[0].debug:
            traceback.print_exc()
        return f"the stack failed: {type(error).__name__}: {error}", 1
    outcomes.update(zip((str(cfg.run_dir) for cfg in cfgs), results, strict=True))
    return None, 0
