"""Runs as processes of their own, several at a time. Nothing is kept but their folders."""

import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from da.benchmark.plan import Key, Run
from da.compose import path_override
from da.record import recorded

LOG = "log.txt"
ALIKE = 3
"""So many failures for one and the same reason, before any run came out, and the others are not tried."""
POLL_SECONDS = 0.1


class Outcome(NamedTuple):
    """What became of a run: `trained`, `finished before`, `failed` or `left out`, and why."""

    status: str
    reason: str = ""


def look(run: Run) -> Outcome | None:
    """What the folder says already: finished, failed, or None if the run is to be trained (again)."""
    results = recorded(run.folder, run.config_hash)
    if results.get("status") == "complete":
        return Outcome("finished before")
    if results.get("status") == "failed":
        return Outcome("failed", _one_line(str(results.get("error"))))
    return None


def train(
    runs: Sequence[Run], before: Mapping[Key, Outcome], jobs: int, say: Callable[[Run, Outcome, float], None]
) -> dict[Key, Outcome]:
    """Train `runs`, `jobs` at a time, and return what became of each.

    `before` are those that need not be trained. A run starts after those that it needs, and is left out if one of
    them did not come out. `say` is told of each run when it ended, and how many seconds it took.
    """
    outcomes = dict(before)
    waiting = list(runs)
    active: dict[BaseProcess, tuple[Run, float]] = {}
    try:
        while waiting or active:
            for run in _ready(waiting, outcomes)[: jobs - len(active)]:
                waiting.remove(run)
                active[_start(run)] = (run, time.monotonic())
            for process, (run, started) in list(active.items()):
                if not process.is_alive():
                    del active[process]
                    outcomes[run.key] = _outcome(run, process)
                    say(run, outcomes[run.key], time.monotonic() - started)
            for run, outcome in _hopeless(waiting, outcomes):
                waiting.remove(run)
                outcomes[run.key] = outcome
            if active:
                time.sleep(POLL_SECONDS)
    finally:
        for process in active:
            _kill(process)
    return outcomes


def _ready(waiting: Sequence[Run], outcomes: Mapping[Key, Outcome]) -> list[Run]:
    return [run for run in waiting if all(_came_out(outcomes.get(key)) for key in run.needs)]


def _came_out(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status in ("trained", "finished before")


def _hopeless(waiting: Sequence[Run], outcomes: Mapping[Key, Outcome]) -> list[tuple[Run, Outcome]]:
    """Runs that start from one that failed; all, if every one so far failed for the same reason."""
    reasons = [outcome.reason for outcome in outcomes.values() if outcome.status == "failed"]
    if len(reasons) >= ALIKE and len(set(reasons)) == 1 and not any(map(_came_out, outcomes.values())):
        return [(run, Outcome("left out", f"the first {len(reasons)} runs all failed alike")) for run in waiting]
    found = []
    for run in waiting:
        bad = [key for key in run.needs if key in outcomes and not _came_out(outcomes[key])]
        if bad:
            found.append((run, Outcome("left out", f"it starts from {bad[0]}, which is {outcomes[bad[0]].status}")))
    return found


def _start(run: Run) -> BaseProcess:
    run.folder.mkdir(parents=True, exist_ok=True)
    # One thread each, as threads of many runs fight for cores, and the same code as this process has.
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    words = (*run.words, path_override("hydra.run.dir", run.folder.resolve()))
    # A process that was forked need not import PyTorch again, which takes longer than many a run on kept features.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["da.benchmark.child"])
    process = server.Process(target=_child, args=(words, environment, run.folder / LOG))
    process.start()
    return process


def _child(words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    from da.benchmark.child import train

    train(words, environment, log)


def _kill(process: BaseProcess) -> None:
    with suppress(ProcessLookupError):  # it has no session of its own yet
        if process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _outcome(run: Run, process: BaseProcess) -> Outcome:
    said = look(run)
    if process.exitcode == 0 and said is not None and said.status == "finished before":
        return Outcome("trained")
    if said is not None and said.status == "failed":
        return said
    lines = (run.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        return Outcome("failed", _one_line(errors[-1]))
    if process.exitcode == 0:
        return Outcome("failed", f"its results are of another configuration than {run.config_hash}")
    return Outcome("failed", f"the process ended with status {process.exitcode}, see {run.folder / LOG}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the runs of a suite until this process ends, however it does; ValueError if another process has them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"another process trains the runs of {folder}") from error
        yield
