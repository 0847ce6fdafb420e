"""What is tried: candidates, as options of `da train`, and how long each rung trains them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]
from jaxtyping import Int
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from da.compose import compose_config, config_dir
from da.select.choice import BASELINE


class Candidate(NamedTuple):
    """A method at one lambda."""

    name: str
    words: tuple[str, ...]  # options of da train


@dataclass(frozen=True)
class Settings:
    """The options of conf/auto.yaml, which are its own: words without a dot before `=`."""

    methods: tuple[str, ...]
    expect_balance: tuple[str, ...]  # those that spread predictions evenly over the classes
    balance: float  # of the source's classes, below which these are left out
    lambdas: tuple[float, ...]  # multiples of a method's own
    rungs: tuple[float, ...]  # parts of the whole length, rising to 1
    keep: float  # part of the candidates of a rung that goes on
    by: str  # the validator that decides
    minutes: float  # after which nothing new is begun

    def __post_init__(self) -> None:
        if not self.methods or BASELINE in self.methods:
            raise ValueError(f"methods={list(self.methods)}: name some, and not {BASELINE}, which is always there")
        if not 0 <= self.balance <= 1:
            raise ValueError(f"balance={self.balance} must lie between 0 and 1")
        if not self.lambdas or min(self.lambdas) <= 0:
            raise ValueError(f"lambdas={list(self.lambdas)} must be positive")
        if sorted(set(self.rungs)) != list(self.rungs) or not 0 < self.rungs[0] <= self.rungs[-1] == 1:
            raise ValueError(f"rungs={list(self.rungs)} must rise to 1, from more than 0")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep={self.keep} must lie between 0 and 1")
        if self.minutes <= 0:
            raise ValueError(f"minutes={self.minutes} must be positive")


def read_settings(words: Sequence[str]) -> tuple[Settings, list[str]]:
    """Return the settings, those of conf/auto.yaml where `words` say nothing else, and the words for `da train`.

    Raises ValueError for a value that is none.
    """
    given: dict[str, Any] = yaml.safe_load(Path(config_dir(), "auto.yaml").read_text(encoding="utf-8"))
    names, rest = {field.name for field in fields(Settings)}, []
    for word in words:
        key, _, value = word.partition("=")
        if key in names:
            given[key] = yaml.safe_load(value if "[" in value or "," not in value else f"[{value}]")
        else:
            rest.append(word)
    for key in ("methods", "expect_balance", "lambdas", "rungs"):
        given[key] = tuple(given[key]) if isinstance(given[key], list) else (given[key],)
    try:
        return Settings(**given), rest
    except TypeError as error:
        raise ValueError(f"conf/auto.yaml and its options: {error}") from error


def balance_of(y: Int[Tensor, " n"]) -> float:
    """Return the entropy of the classes' shares over that of equal ones: 1 for classes that are equally frequent.

    Of those that there are; 1 for a single one.
    """
    shares = y.unique(return_counts=True)[1] / len(y)
    return float(-(shares * shares.log()).sum() / math.log(len(shares))) if len(shares) > 1 else 1.0


def suited(settings: Settings, balance: float) -> tuple[Settings, str]:
    """Return the settings without the methods that the source's classes do not suit, and what there is to say of it.

    Raises ValueError if none is left.
    """
    out = [name for name in settings.methods if name in settings.expect_balance] if balance < settings.balance else []
    if not out:
        return settings, ""
    reason = (
        f"{', '.join(out)} expect equally frequent classes, and those of the source have {balance:.2f} of the entropy "
        f"of such, less than balance={settings.balance:g}"
    )
    left = tuple(name for name in settings.methods if name not in out)
    if not left:
        raise ValueError(f"no method is left: {reason}")
    return replace(settings, methods=left), f"left out: {reason}"


def candidates(settings: Settings, words: Sequence[str]) -> list[Candidate]:
    """Return source-only first, then each method at each lambda, the lambdas of a method far apart in the list.

    A method that has no lambda stands there once. Raises ValueError for options that there are not.
    """
    found = [Candidate(BASELINE, (f"method={BASELINE}",))]
    for factor in settings.lambdas:
        for method in settings.methods:
            scaled = _scaled(compose_config([*words, f"method={method}"]), factor)
            if factor == 1 or scaled:
                name = method if factor == 1 else f"{method} x{factor:g}"
                found.append(Candidate(name, (f"method={method}", *(scaled if factor != 1 else ()))))
    return found


def _scaled(cfg: DictConfig, factor: float) -> list[str]:
    """The options that multiply the weights of everything but the task; none without a source, where all is scaled."""
    if cfg.pretrain is not None:
        return []
    weights: Mapping[str, Any] = OmegaConf.to_container(cfg.method.get("weights") or {}, resolve=True)  # type: ignore[assignment]
    return [
        f"method.weights.{term}.{key}={factor * weight[key]:g}"
        for term, weight in weights.items()
        if term != "task"
        for key in ("value", "high")
        if isinstance(weight, Mapping) and isinstance(weight.get(key), int | float)
    ]


def shortened(words: Sequence[str], part: float, run_dir: Path) -> DictConfig:
    """Compose a run of a part of its length: fewer epochs, or less than one."""
    cfg = compose_config(words, run_dir)
    if part < 1:
        epochs = part * int(cfg.trainer.max_epochs)
        cfg.trainer.max_epochs = max(1, round(epochs))
        if epochs < 1 and cfg.trainer.get("limit_train_batches", 1.0) == 1.0:
            cfg.trainer.limit_train_batches = epochs
    return cfg
