"""What lies beside a results.json: overrides, the resolved configuration, what was said of the data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from da.record import CONFIG_FILE, DATA_FILE
from da.settings import NOT_IDENTITY

# what a run is repeated over, or is compared by, or what can't move a number
_NOT_A_SETTING = NOT_IDENTITY | {"method", "data", "data.source", "data.target", "data.root", "seed"}


def read_overrides(folder: Path) -> dict[str, str]:
    """Return the settings that a run was started with on the command line; empty where it left none."""
    lines = _read_yaml(folder / ".hydra" / "overrides.yaml") or []
    pairs = (str(line).lstrip("+").partition("=") for line in lines)
    return {key: value for key, _, value in pairs if key not in _NOT_A_SETTING}


def read_config(folder: Path) -> Mapping[str, Any] | None:
    """Return the resolved configuration of a run, None where it left none; ValueError if it is no mapping."""
    file = folder / CONFIG_FILE
    content = _read_yaml(file)
    if content is not None and not isinstance(content, Mapping):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected the configuration of a run")
    return content


def read_data_file(folder: Path) -> Mapping[str, Any] | None:
    """Return data.json of a run, None where it left none; ValueError if it is no JSON object."""
    file = folder / DATA_FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} isn't valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected an object")
    return content


def _read_yaml(file: Path) -> Any:
    if not file.exists():
        return None
    import yaml  # type: ignore[import-untyped]

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C: a configuration in 2 ms, not in 20
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{file} isn't valid YAML: {error}") from error
