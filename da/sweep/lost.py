"""Jobs whose process ended without a word: killed, out of memory, out of time.

The launchers of submitit and Ray wait for one job after the other and raise at the first that is lost, so that nothing
is heard of the others (and Ray ends them).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.utils import JobReturn, JobStatus


def lost(reason: str) -> JobReturn:
    """Return what a job returns that failed for this reason."""
    return JobReturn(status=JobStatus.FAILED, _return_value=RuntimeError(reason))


@contextmanager
def returned_when_lost(launcher: str) -> Iterator[None]:
    """Inside, the launcher of this name gets a failed job in the place of one that was lost, and waits for the rest."""
    if launcher.startswith("submitit"):
        from submitit import Job

        with _replaced(Job, "results", _submitit_results(launcher, Job.results)):
            yield
    elif launcher == "ray":
        import ray

        with _replaced(ray, "get", _ray_get(ray.get, ray.exceptions.RayError)):
            yield
    else:
        yield


def _submitit_results(launcher: str, results: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def settled(job: Any) -> Any:
        try:
            return results(job)
        except Exception as error:  # submitit knows two classes of its own, and raises others too
            said = _last_line(job.stderr() or str(error))
            return [lost(f"{launcher} lost it ({job.state.lower()}), log {job.paths.stderr}: {said}")]

    return settled


def _ray_get(get: Callable[..., Any], lost_by_ray: type[Exception]) -> Callable[..., Any]:
    def settled(*arguments: Any, **options: Any) -> Any:
        try:
            return get(*arguments, **options)
        except lost_by_ray as error:
            return lost(f"Ray lost it: {type(error).__name__}: {' '.join(str(error).split())}")

    return settled


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _last_line(text: str) -> str:
    """Return the last line that speaks of an error, else the last one: Slurm goes on talking after it has killed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
