"""What the config says about a run as a whole: its identity, and the settings outside the groups."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from da.precision import fastest

NOT_IDENTITY = frozenset(
    {
        "hydra",
        "runs",
        "run_dir",
        "logger",
        "figures",
        "figures_every",
        "monitor",
        "ckpt_path",
        "checkpoint_minutes",
        "max_minutes",
        "force",
        "debug",
        "names",
    }
)
"""Settings that do not change what is trained: two runs that differ in these only are the same run."""

PLACES = ("root", "places", "fetch", "sha256")
"""Options of the data that say where files are, not what is in them."""

ADDED = frozenset({"init_parts", "averaging"})
"""Options that came later: where they are null or empty, a run is the one that it was without them."""

FIRST_VALIDATORS = frozenset({"source_acc", "entropy", "infomax", "snd"})
"""Validators move no weight: beside the one that selects, only these are part of a run's identity, as they were before
there were others."""

SETTINGS: dict[str, type | tuple[type, ...]] = {
    "seed": int,
    "selection_metric": str,
    "figures": str,
    "figures_every": (int, type(None)),
    "force": bool,
    "debug": bool,
    "runs": str,
    "run_dir": str,
    "init_from": (str, type(None)),
    "init_parts": (list, type(None)),
    "ckpt_path": (str, type(None)),
    "checkpoint_minutes": (int, float),
    "max_minutes": (int, float, type(None)),
}
"""Plain values at the root of the config and their types; everything else is a group that builds an object."""

GROUPS = frozenset(
    {
        *("data", "net", "method", "discrepancy", "optimizer", "lr_schedule"),
        *("trainer", "logger", "monitor", "validators", "pretrain", "tuning", "averaging"),
    }
)
FIGURES = ("tsne", "pca", "none")


def check_settings(cfg: DictConfig) -> None:
    """Raise ValueError or TypeError for a root key that nothing reads, or a value of another type."""
    known = {*SETTINGS, *GROUPS, "names"}
    for key in map(str, cfg):
        if key not in known:
            raise ValueError(f"{key}={cfg[key]}: there is no such option; the config has {', '.join(sorted(known))}")
    for key, type_ in SETTINGS.items():
        value = OmegaConf.to_object(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
        if not isinstance(value, type_) or (isinstance(value, bool) and type_ is not bool):
            expected = " or ".join(t.__name__ for t in (type_ if isinstance(type_, tuple) else (type_,)))
            expected = expected.replace("NoneType", "null")
            raise TypeError(f"{key}={value!r} is of type {type(value).__name__}, expected {expected}")
    if "discrepancy" in cfg and not _reads_discrepancy(cfg):
        raise ValueError(f"method={cfg.names.method} reads no discrepancy; method=align takes any of them")
    if cfg.trainer.get("max_time") is not None:
        raise ValueError("trainer.max_time would end the run as if it were complete: max_minutes=... saves it to go on")
    if cfg.seed < 0:
        raise ValueError(f"seed={cfg.seed} must not be negative")
    if cfg.figures not in FIGURES:
        raise ValueError(f"figures={cfg.figures}: expected one of {', '.join(FIGURES)}")
    if cfg.figures_every is not None and (cfg.figures_every < 1 or cfg.figures == "none"):
        raise ValueError(f"figures_every={cfg.figures_every} needs 1 epoch or more, and figures=tsne or pca to draw by")


def _reads_discrepancy(cfg: DictConfig) -> bool:
    """Whether the method refers to it or, in the resolved config of a run, holds it."""
    if "${discrepancy}" in str(OmegaConf.to_container(cfg.method, resolve=False)):
        return True
    own, method = (str(OmegaConf.to_container(node, resolve=True)) for node in (cfg.discrepancy, cfg.method))
    return own in method


def config_hash(cfg: DictConfig) -> str:
    """Return 12 hexadecimal digits that name what is trained: the resolved config without `NOT_IDENTITY`.

    The places of the data files are left out too: the files are identified by their own hashes. So are validators
    that do not select, and what was `ADDED` and is empty or null.
    """
    identity: dict[str, Any] = {}
    for key in cfg:
        if key in NOT_IDENTITY or (key in ADDED and not cfg[key]):
            continue
        node = cfg[key]
        identity[str(key)] = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if isinstance(identity.get("validators"), dict):
        counted = FIRST_VALIDATORS | {cfg.get("selection_metric")}
        identity["validators"] = {name: v for name, v in identity["validators"].items() if name in counted}
    if isinstance(identity.get("data"), dict):
        for key in PLACES:
            identity["data"].pop(key, None)
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_name(data: str, method: str, root: DictConfig) -> str:
    """Folder of a run below `runs`: data/method/seed<k>-<hash>, free of characters that an override can't carry."""
    task = "-".join(slug(root.data[key]) for key in ("source", "target") if root.data.get(key))
    return "/".join(filter(None, [data, task, method, f"seed{root.seed}-{config_hash(root)}"]))


def slug(domain: str | int | Sequence[str | int]) -> str:
    """Name of a domain, or of several, for a folder: that of its file or folder, in letters, digits, . and _ only."""
    names = [domain] if isinstance(domain, str | int) else list(domain)
    stems = [str(name).rstrip("/").rpartition("/")[2] for name in names]
    return "+".join(
        re.sub(r"[^\w.]+", "_", re.sub(r"\.(npz|csv|parquet|safetensors|zip)$", "", stem)) for stem in stems
    )


def sum_name(method: str, overrides: Sequence[str]) -> str:
    """Name of a method with the discrepancy and the terms that the command line gives it: align-swd, mmd+mcc+bnm."""
    added: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "discrepancy":
            method = f"{method}-{value}"
        elif key == "term":
            added += [name.strip() for name in value.strip("[]").split(",") if name.strip() not in ("", "null")]
        elif key.startswith("+method.terms.") and key.count(".") == 2:
            added.append(key.rpartition(".")[2])
    return "+".join([method, *added])


def register_resolvers() -> None:
    """Make `${da.run_name:...}`, `${da.sum:...}` and `${da.precision:...}` known to OmegaConf."""
    OmegaConf.register_new_resolver("da.sum", sum_name, replace=True)
    OmegaConf.register_new_resolver(
        "da.run_name", lambda data, method, *, _root_: run_name(data, method, _root_), replace=True
    )
    OmegaConf.register_new_resolver("da.precision", fastest, replace=True)
