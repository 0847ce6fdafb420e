"""What a run was made in: the command, the machine, every package, and the changes that no commit has."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from da.record import DIFF_FILE, ENVIRONMENT_FILE, write_whole


def write_environment(folder: Path, dirty: bool) -> None:
    """Write environment.json, and git.diff where tracked files of the checkout differ from its commit."""
    write_whole(folder / ENVIRONMENT_FILE, json.dumps(environment(), indent=2) + "\n")
    if dirty:
        write_whole(folder / DIFF_FILE, _diff())


def environment() -> dict[str, Any]:
    """Return what results may depend on beside configuration, code and data; the command as it was given."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "folder": str(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": dict(_packages()),
    }


@lru_cache(maxsize=1)
def _packages() -> tuple[tuple[str, str], ...]:
    """Name and version of every installed package."""
    found = {item.metadata["Name"]: item.version for item in importlib.metadata.distributions()}
    return tuple(sorted(found.items(), key=lambda pair: pair[0].lower()))


@lru_cache(maxsize=1)
def _processor() -> str:
    """Return the model of the processor, which decides which kernels PyTorch takes."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _diff() -> str:
    command = ["git", "diff", "HEAD", "--no-color", "--no-ext-diff"]
    try:
        return subprocess.run(
            command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True, errors="replace"
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return f"the changes could not be read: {error}\n"
