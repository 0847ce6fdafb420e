"""The run folder: results.json, and what is known of how it came about."""

import importlib.metadata
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from da.settings import config_hash

SCHEMA = "da.results/1"
RESULTS_FILE = "results.json"
CONFIG_FILE = "config.yaml"
DATA_FILE = "data.json"
"""In a run's folder: its classes, what it takes to read new rows, and what was to be said about the data."""
ENVIRONMENT_FILE = "environment.json"
DIFF_FILE = "git.diff"
VALIDATOR = "val/validator/"
"""What the key of a validator's curve begins with, in metrics.csv and elsewhere."""
PACKAGES = ("lambda-da", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "numpy")
MADE_BY_A_RUN = (
    "checkpoints",
    "figures",
    "pretrain",
    "metrics.csv",
    RESULTS_FILE,
    CONFIG_FILE,
    DATA_FILE,
    ENVIRONMENT_FILE,
    DIFF_FILE,
    "wandb",
    "tensorboard",
)


class PrunedError(Exception):
    """A search gave the run up before its end."""


def finished(folder: Path, cfg: DictConfig) -> bool:
    """Whether the folder holds the complete results of this very config."""
    return recorded(folder, config_hash(cfg)).get("status") == "complete"


def recorded(folder: Path, hashed: str) -> dict[str, Any]:
    """Return what results.json says in this folder if it is of the config of this hash; else nothing."""
    try:
        results: dict[str, Any] = json.loads((folder / RESULTS_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return results if results.get("config_hash") == hashed else {}


def shown(folder: Path) -> Path:
    """Return the path relative to where the user stands, if it lies below."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


class RunRecord:
    """Writes results.json: `running` at the start, then `complete` or `failed`, each time as a whole."""

    def __init__(self, cfg: DictConfig) -> None:
        self.folder = Path(cfg.run_dir)
        commit, dirty = _git_state()
        self.known: dict[str, Any] = {
            "schema": SCHEMA,
            "status": "running",
            "error": None,
            **{key: cfg.names[key] for key in ("method", "data", "net")},
            "source": None,
            "target": None,
            "seed": cfg.seed,
            "config_hash": config_hash(cfg),
            "selection_metric": cfg.selection_metric,
            "git_commit": commit,
            "git_dirty": dirty,
            "resumed": [],
            "stacked": 1,
            "versions": {name: _version(name) for name in PACKAGES},
        }

    def start(self) -> None:
        """Take possession of the folder. What an earlier run left there goes."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in MADE_BY_A_RUN:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self._write()

    def go_on(self, steps: int) -> None:
        """Take possession of the folder of an interrupted run, to go on after so many batches, and note its commit."""
        earlier = recorded(self.folder, self.known["config_hash"])
        part = {"steps": steps, "git_commit": earlier.get("git_commit"), "git_dirty": earlier.get("git_dirty")}
        self.known["resumed"] = [*earlier.get("resumed", []), part]
        self._write()

    def write_config(self, cfg: DictConfig) -> None:
        """Write the whole configuration with no reference in it, and with what the data said where they were asked."""
        write_whole(self.folder / CONFIG_FILE, OmegaConf.to_yaml(cfg, resolve=True))

    def finish(self, measured: dict[str, Any]) -> dict[str, Any]:
        """Write the complete results and return them."""
        self.known |= measured | {"status": "complete"}
        self._write()
        return self.known

    def fail(self, error: BaseException) -> None:
        """Write that the run came to nothing, and why."""
        status = "pruned" if isinstance(error, PrunedError) else "failed"
        self.known |= {"status": status, "error": f"{type(error).__name__}: {error}"}
        self._write()

    def _write(self) -> None:
        write_whole(self.folder / RESULTS_FILE, json.dumps(self.known, indent=2, allow_nan=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text file of which no reader ever finds a part."""
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(path: Path, writer: str = "") -> Iterator[Path]:
    """Give a place beside `path` to write to, and move what is written to `path`: there is the old file or the new one.

    What writing leaves when it fails is removed. Several that may write the same file at once say which `writer` it is.
    """
    draft = path.with_name(f"{path.name}{writer}.part")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout this code runs from, and whether tracked files differ from it; None outside of git."""

    def git(*arguments: str) -> str:
        where = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=where, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository.
        if not git("ls-files", Path(__file__).name):
            return None, None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
