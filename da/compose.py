"""The configuration that the words of a command line stand for, also outside of `da train`."""

import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from da.settings import register_resolvers, sum_name


def config_dir() -> str:
    """conf/ inside the installed wheel, else conf/ beside da/ in a checkout."""
    packaged = Path(str(files("da"))) / "conf"
    checkout = Path(str(files("da"))).parent / "conf"
    for path in (packaged, checkout):
        if (path / "train.yaml").is_file():
            return str(path)
    raise FileNotFoundError(f"no conf/train.yaml in {packaged} or {checkout}; reinstall lambda-da")


def compose_config(words: Sequence[str], run_dir: str | Path = "unused") -> DictConfig:
    """Compose train.yaml with these options, as `da train` would.

    Raises ValueError for options that there are not. What else a run refuses, `check_settings` says.
    """
    register_resolvers()
    try:
        with initialize_config_dir(config_dir(), version_base="1.3"):
            cfg = compose("train", overrides=[*words, f"run_dir={run_dir}"], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(one_line(error)) from error
    names = {**cfg.hydra.runtime.choices, "method": sum_name(cfg.hydra.runtime.choices.method, words)}
    with open_dict(cfg):
        cfg.names = {key: names[key] for key in ("data", "net", "method")}
        del cfg.hydra
    return cfg


def combinations(words: Sequence[str]) -> list[list[str]]:
    """Options for every combination of the choices in `words`, as `da train -m` makes them, the last one fastest.

    `["net=a,b", "seed=0"]` gives `[["net=a", "seed=0"], ["net=b", "seed=0"]]`.
    """
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if override.is_sweep_override()
        else [override.input_line or ""]
        for override in OverridesParser.create().parse_overrides(list(words))
    ]
    return [list(chosen) for chosen in product(*choices)]


def path_override(key: str, path: Path) -> str:
    """Return the override that sets `key` to a path, whatever characters that has."""
    quoted = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


def one_line(error: BaseException) -> str:
    """What an error of Hydra or OmegaConf says to a user, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OmegaConf adds lines about its own types, Hydra a hint at its flags.
    lines = [
        line for line in lines if not line.startswith(("full_key:", "object_type=", "reference_type=", "Set the env"))
    ]
    text = " ".join(lines) or type(error).__name__
    if asked := re.fullmatch(r"Interpolation key '((?:data|net)\.[\w.]+)' not found", text):
        return f"net and data do not fit: one asks for {asked[1]}, which the other does not have; choose another one"
    # A name that begins with an underscore is a base of other configs, and no choice.
    return re.sub(r" _\w+(?= )", "", text) if "Available options in" in text else text
