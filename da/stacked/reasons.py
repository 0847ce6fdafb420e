"""Why a run can't be trained in a stack."""

from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from da.methods.base import Method
from da.methods.weighted_sum import WeightedSum
from da.terms.base import AdaptiveWeight

SEPARATE = ("SGD", "ASGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop")
"""Optimizers of torch.optim that change each parameter by its own gradients alone."""
LARGEST = 4_000_000
"""Most trained parameters of a run that is stacked: a larger one is not faster that way."""

LARGEST_OF_SEEDS = 8_000_000
"""Most trained parameters of all runs where they have several seeds: a larger stack is not faster than several, and
wants the memory of all. The C library asks the system for every tensor of more than 32 MiB anew."""

_CHECKS: tuple[tuple[Callable[[DictConfig], Any], str], ...] = (
    (lambda cfg: cfg.pretrain is not None, "it has a source stage"),
    (lambda cfg: cfg.get("tuning"), "tuning changes what is trained on the way"),
    (lambda cfg: cfg.get("averaging"), "the network is averaged"),
    (lambda cfg: cfg.figures != "none", "figures are drawn of one run at a time (figures=none for none)"),
    (lambda cfg: cfg.logger, "its logger writes one run at a time (logger=csv)"),
    (lambda cfg: cfg.ckpt_path not in (None, "auto"), "it goes on from a checkpoint"),
    (lambda cfg: cfg.max_minutes is not None, "max_minutes saves a run to go on, and a stack can't"),
    (lambda cfg: cfg.trainer.get("gradient_clip_val") is not None, "its gradient is clipped as a whole"),
    (lambda cfg: cfg.trainer.get("accumulate_grad_batches", 1) != 1, "it accumulates gradients"),
    (lambda cfg: cfg.trainer.get("precision") not in ("32-true", "64-true"), "it is trained in mixed precision"),
    (lambda cfg: cfg.trainer.get("devices") not in (1, "1") or cfg.trainer.strategy != "auto", "of several processes"),
)


class NotStackableError(Exception):
    """Says why a method can't be stacked."""


class SeedsDifferError(NotStackableError):
    """Says why runs of several seeds can't be one stack, where those of one seed may be, or `most` of them."""

    def __init__(self, reason: str, most: int = 1) -> None:
        super().__init__(reason)
        self.most = most


def reason_in_config(cfg: DictConfig) -> str | None:
    """Return why the run of this config can't be stacked, as far as the config tells; None if it can."""
    return next((reason for applies, reason in _CHECKS if applies(cfg)), None)


def check_stackable(method: Method) -> WeightedSum:
    """Return the method if its parameters can be stacked; NotStackableError says why not."""
    if not isinstance(method, WeightedSum):
        raise NotStackableError(f"{type(method).__name__} is no weighted sum of terms")
    objective = method.objective
    if adaptive := [name for name, weight in objective.weights.items() if isinstance(weight, AdaptiveWeight)]:
        raise NotStackableError(f"the weight of {adaptive[0]!r} follows the training of one run")
    if fitted := [name for name, term in objective.named_terms().items() if term.fits_on]:
        raise NotStackableError(f"the term {fitted[0]!r} learns from all rows before the first step")
    if any(isinstance(module, nn.modules.conv._ConvNd) for module in _run_modules(method)):
        raise NotStackableError("convolutions are not faster in a stack; data.cache_features=true needs none")
    trained = _trained(method)
    if trained > LARGEST:
        raise NotStackableError(f"its {trained:,} trained parameters are more than the {LARGEST:,} that gain from it")
    optimizer = method.make_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}])
    kind = type(optimizer)
    if not (kind.__module__.startswith("torch.optim.") and kind.__name__ in SEPARATE):
        raise NotStackableError(f"the optimizer {kind.__name__} may mix the parameters of several runs")
    return method


def check_size(method: Method, runs: int) -> None:
    """Raise SeedsDifferError if so many runs have more parameters together than those of several seeds may have."""
    if (trained := runs * _trained(method)) > LARGEST_OF_SEEDS:
        reason = f"{runs} runs of several seeds have {trained:,} trained parameters, of {LARGEST_OF_SEEDS:,} at most"
        raise SeedsDifferError(reason, most=LARGEST_OF_SEEDS // _trained(method))


def _trained(method: Method) -> int:
    return sum(p.numel() for p in method.parameters() if p.requires_grad)


def _run_modules(method: Method) -> list[nn.Module]:
    """The modules that are run in training: not a backbone whose features are cached."""
    unused = set(method.net.backbone.modules()) if method.net.reads_features else set[nn.Module]()
    return [module for module in method.modules() if module not in unused]


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two ways to the same numbers differ by rounding only."""
    gap, size = (torch.linalg.vector_norm(x.double()) for x in (one - other, other))
    return bool(gap <= 1e-3 * size + 1e-6)
