"""How the parts of a pretrained network are trained: which ones when, at what rate, with whose statistics."""

from collections.abc import Mapping, Sequence
from typing import Literal

from torch import nn

from da.models.batch_norm import BATCH_NORMS, StochNorm, replace_batch_norms
from da.models.network import Network, named_layers
from da.models.state import owner


class Tuning:
    """A plan for fine-tuning, made for a network by `prepare` and carried out by `apply`.

    What is frozen gets no gradient and stays bit for bit as it is; its batch norms are in evaluation mode.

    Args:
        unfreeze: by the name of a part of the network, such as `backbone` or `backbone.layer3`, the progress in [0, 1]
            from which on it is trained; None: never. The longest name counts; what none names is trained all the time.
        gradual: cut the backbone into so many stages and unfreeze them one after the other, the last one first, while
            bottleneck and head are trained all the time (ULMFiT, Howard & Ruder 2018, section 3.3).
        until: progress at which the first stage of `gradual` is unfrozen.
        lr_decay: factor of the learning rate from each block of the backbone to the one before it (ULMFiT's
            discriminative fine-tuning, section 3.2: 1 / 2.6), on top of `net.backbone_lr_scale`.
        lr_scales: by name, as in `unfreeze`, further factors of the learning rate.
        batch_norm: "train", or "frozen": the batch norms of the backbone keep their statistics, and are normalised by
            them; scale and shift are trained all the same.
        stoch_norm: probability, for each channel and step, that a batch norm of the backbone takes the moving
            statistics in place of the batch's (`StochNorm`); None: plain batch norms.

    Raises ValueError for numbers out of range, and for `gradual` together with `unfreeze`.
    """

    def __init__(
        self,
        unfreeze: Mapping[str, float | None] | None = None,
        gradual: int | None = None,
        until: float = 0.5,
        lr_decay: float = 1.0,
        lr_scales: Mapping[str, float] | None = None,
        batch_norm: Literal["train", "frozen"] = "train",
        stoch_norm: float | None = None,
    ) -> None:
        self.unfreeze, self.lr_scales = dict(unfreeze or {}), dict(lr_scales or {})
        if gradual is not None and self.unfreeze:
            raise ValueError("tuning.gradual makes the plan that tuning.unfreeze would be: give one of them")
        if gradual is not None and gradual < 1:
            raise ValueError(f"tuning.gradual={gradual} must be 1 or more stages")
        for option, values in (("unfreeze", self.unfreeze.values()), ("until", [until])):
            if any(value is not None and not 0 <= value <= 1 for value in values):
                raise ValueError(f"tuning.{option}={list(values)}: expected a progress in [0, 1]")
        if lr_decay <= 0 or any(scale <= 0 for scale in self.lr_scales.values()):
            raise ValueError(f"tuning.lr_decay={lr_decay} and tuning.lr_scales={self.lr_scales} must be positive")
        if batch_norm not in ("train", "frozen"):
            raise ValueError(f"tuning.batch_norm={batch_norm!r}: expected train or frozen")
        if stoch_norm is not None and batch_norm == "frozen":
            raise ValueError("tuning.stoch_norm mixes in the batch's statistics, which batch_norm=frozen leaves out")
        self.gradual, self.until, self.lr_decay = gradual, until, lr_decay
        self.batch_norm, self.stoch_norm = batch_norm, stoch_norm
        self._frozen: frozenset[str] | None = None  # the names that `apply` froze last
        self._trained: set[int] = set()  # ids of the parameters that the method trains

    def prepare(self, net: Network) -> None:
        """Set the learning rates of the network's parts, and its batch norms. Before the optimizer is made.

        Raises ValueError for a name that no part has, and for a backbone that `net.freeze_backbone` froze for good.
        """
        if net.freeze_backbone:
            raise ValueError("net.freeze_backbone=true leaves nothing of the backbone to tune: tuning=null, or false")
        named_layers(net, [*self.unfreeze, *self.lr_scales])
        blocks = [f"backbone.{name}" for name in depth_blocks(net.backbone)]
        if self.gradual is not None:
            self.unfreeze = self._stages(blocks)
        top = len(blocks) - 1
        by_depth = {name: self.lr_decay ** (top - depth) for depth, name in enumerate(blocks)}
        by_depth["backbone"] = self.lr_decay**top  # parameters in no block, such as embedded positions, come first
        net.lr_scales = [scales for scales in (by_depth, self.lr_scales) if scales]
        net.stages = list(self.unfreeze)
        if self.stoch_norm is not None:
            replace_batch_norms(net.backbone, lambda norm: StochNorm.of(norm, self.stoch_norm or 0.0))

    def _stages(self, blocks: Sequence[str]) -> dict[str, float | None]:
        assert self.gradual is not None
        if self.gradual > len(blocks):
            raise ValueError(f"tuning.gradual={self.gradual}, but the backbone has {len(blocks)} blocks")
        start = {"backbone": self.until}
        for i, name in enumerate(blocks):  # stage 1 is the last one
            stage = self.gradual - i * self.gradual // len(blocks)
            start[name] = self.until * stage / self.gradual
        return dict(start)

    def apply(self, net: Network, progress: float) -> None:
        """Freeze and unfreeze the parts of the network for the step at this progress."""
        frozen = frozenset(name for name, start in self.unfreeze.items() if start is None or progress < start)
        if frozen == self._frozen:
            return
        if self._frozen is None:  # the method may have frozen parts for good
            self._trained = {id(p) for p in net.parameters() if p.requires_grad}
        self._frozen = frozen
        norms = self.batch_norm == "frozen"
        resting: list[nn.Module] = []
        for name, module in net.named_modules():
            rests = owner(name, self.unfreeze) in frozen
            for p in module.parameters(recurse=False):
                if id(p) in self._trained:
                    p.requires_grad_(not rests)
            if rests or (norms and name.startswith("backbone") and isinstance(module, BATCH_NORMS)):
                resting.append(module)
        net.resting = resting
        net.train(net.training)


def depth_blocks(backbone: nn.Module) -> list[str]:
    """Names of the blocks of a backbone, from its input to its output: residual blocks, transformer layers, ...

    They are the children of the first module with several, and in place of a plain sequence or list what it holds.
    """
    name, module = "", backbone
    while len(inner := _children(module, name)) == 1:
        ((name, module),) = inner
    return [found for child, part in inner for found in _expanded(child, part)] or [name]


def _children(module: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    inner = [(f"{name}.{child}".lstrip("."), part) for child, part in module.named_children()]
    return [(child, part) for child, part in inner if any(True for _ in part.parameters())]


def _expanded(name: str, module: nn.Module) -> list[str]:
    inner = _children(module, name)
    layers = len(inner) == 1 and type(inner[0][1]) is nn.ModuleList  # an encoder that holds nothing but its layers
    if type(module) in (nn.Sequential, nn.ModuleList) or layers:
        return [found for child, part in inner for found in _expanded(child, part)]
    return [name]
