"""Command line. The first word may be a sub-command; `train`, or anything else, is the Hydra application.

Imports neither torch nor Lightning: help and mistakes in the options come at once.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from da.command import stopped
from da.compose import config_dir, one_line
from da.record import PrunedError, finished, shown
from da.settings import check_settings, register_resolvers
from da.stacked.jobs import outcome_of
from da.sweep.endings import ENDINGS, Outcome, selected_score

# The plugins of launchers bring configs of the same names as ours. Also the processes that they start import this.
warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")

USAGE = """usage: da train [option=value ...]       train one configuration: da train --help
       da train -m [option=value,value ...]   train many
       da train method=auto [option=value ...]  one model within minutes, chosen without target labels: da auto --help
       da rerun RUN                       a run once more, and whether it came out the same: da rerun --help
       da rank [option=value,value ...]   which source and network to start from: da rank --help
       da report RUNS...                  a table over runs: da report --help
       da select RUNS... --by NAME        which of them to use, without target labels: da select --help
       da predict RUN INPUTS              classes of new files, tables or arrays: da predict --help
       da fuse A B --out C.ckpt           one network mixed of others: da fuse --help
       da doctor data=...                 what kind of shift there is, and what to try: da doctor --help
       da export RUN --format FORMAT      the network for use without lambda-da: da export --help
       da calibrate RUNS...               temperatures of networks that teach: da calibrate --help
       da wandb --out FILE                the dashboard of a W&B project as code: da wandb --help
       da benchmark SUITE                 what is missing of a suite of runs, and its table: da benchmark --help
       da reproduce SUITE/METHOD[/TASK]   a row of a suite again, compared with its interval: da reproduce --help
       da cache                           what is kept on disk to be fast: da cache --help
"""

COMMANDS = {
    "auto": "da.auto.cli",
    "rerun": "da.rerun",
    "rank": "da.rank.cli",
    "report": "da.report.cli",
    "select": "da.select.cli",
    "predict": "da.predict",
    "doctor": "da.doctor.cli",
    "export": "da.export",
    "fuse": "da.fuse.cli",
    "calibrate": "da.calibrate",
    "wandb": "da.report.dashboard",
    "benchmark": "da.benchmark.cli",
    "reproduce": "da.benchmark.reproduce",
    "cache": "da.cache_cli",
}
"""Sub-commands beside train, and the module whose `main` takes the words after them; imported when it is called."""


def main() -> int:
    """Run the command line; return the exit status."""
    command, *arguments = sys.argv[1:] or ["help"]
    if command in ("help", "-h", "--help"):
        print(USAGE, end="")
        return 0
    if command in COMMANDS:
        return int(import_module(COMMANDS[command]).main(arguments))
    if command == "train" and "method=auto" in arguments:  # not one run, but a search over some
        return int(import_module(COMMANDS["auto"]).main([word for word in arguments if word != "method=auto"]))
    if command == "train":
        del sys.argv[1]  # a process that Lightning starts again gets the bare options
        # Hydra takes options before -m or after it, not both.
        sys.argv[1:] = sorted(arguments, key=lambda word: word not in ("-m", "--multirun"))
    elif "=" not in command and not command.startswith("-"):
        return _fail(f"there is no command {command!r}; there are train, {', '.join(COMMANDS)}")
    return _hydra()


_failures: list[str] = []
"""Of the run of this process; those of a sweep are in `ENDINGS`."""


def _hydra() -> int:
    # Hydra would print a traceback of its own choice and exit; with this it raises.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_resolvers()
    _failures.clear()
    ENDINGS.clear()
    debug = "debug=true" in (argument.lower() for argument in sys.argv)
    try:
        _train()
    except BrokenPipeError:
        # Whoever read the output has seen enough (`da train --help | head`); nothing is left to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return stopped()
    except (HydraException, OmegaConfBaseException, OSError) as error:
        if debug:
            traceback.print_exc()
        return _fail(one_line(error))
    return 1 if _failures or any(ending.state == "failed" for ending in ENDINGS) else 0


@hydra.main(version_base="1.3", config_path=config_dir(), config_name="train")
def _train(cfg: DictConfig) -> Outcome | None:
    try:
        with _isolated_job():
            return _job(cfg)
    except PrunedError as error:
        print(f"{cfg.names.method} seed {cfg.seed}: pruned {error}", flush=True)
        return Outcome("pruned", reason=str(error))
    except Exception as error:
        if cfg.get("debug") is True:
            traceback.print_exc()
        if _in_sweep():
            _fail(f"{cfg.names.method} seed {cfg.seed}: {one_line(error)}")
            raise RuntimeError(one_line(error)) from None  # plain text: it may have to come from another machine
        _failures.append(one_line(error))
        _fail(one_line(error))
        return None


def _job(cfg: DictConfig) -> Outcome:
    """Train one configuration, unless its results are there already."""
    check_settings(cfg)
    folder = Path(cfg.run_dir)
    results = outcome_of(cfg)  # of a run that was trained together with others
    if results is None and finished(folder, cfg) and not cfg.force:
        print(f"{shown(folder)} is complete already; force=true trains it again")
        return Outcome("skipped")
    if results is None:
        from da.run import run

        results = run(cfg)
    if "status" in results:  # the process of rank 0
        accuracy = results["test"]["target_acc"]["last"]
        said = "no target labels to test on" if accuracy is None else f"target test accuracy {accuracy:.1%}"
        print(f"{cfg.names.method} seed {cfg.seed}: {said}, in {shown(folder)}", flush=True)
    return Outcome("done", selected_score(results, cfg.selection_metric))


@contextmanager
def _isolated_job() -> Iterator[None]:
    """Let each job of a sweep use several processes.

    Lightning's launcher starts the main module with sys.argv again in its children (inside a sweep that would be the
    whole sweep, in a worker of joblib or submitit that worker) and leaves its process group and variables behind.
    """
    argv, environ, main = sys.argv[:], dict(os.environ), sys.modules["__main__"]
    spec = main.__spec__
    if _in_sweep():
        main.__spec__ = find_spec("da.__main__")
        sys.argv[1:] = list(HydraConfig.get().overrides.task)
        os.chdir(HydraConfig.get().runtime.cwd)  # a worker of Ray stands elsewhere, and options may name relative paths
    try:
        yield
    finally:
        if "da.distributed" in sys.modules:
            sys.modules["da.distributed"].close()
        sys.argv[:], main.__spec__ = argv, spec
        os.environ.clear()
        os.environ.update(environ)


def _in_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 1
