"""The shared feature extractor and its classifier."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.hooks import RemovableHandle

from da.models.batch_norm import share_batch_norm
from da.models.heads import DomainHeads
from da.models.state import owner
from da.types import Role

BatchNormPolicy = Literal["joint", "separate"]
"""Whose statistics normalise a training batch: those of all streams in one forward pass, or each stream its own."""


class ParameterGroup(NamedTuple):
    """Parameters of one part that share a learning rate, and are trained from the same step on."""

    name: str
    parameters: list[nn.Parameter]
    lr_scale: float  # relative to the optimizer's learning rate
    stage: str = ""  # what they are unfrozen with


class Bottleneck(nn.Sequential):
    """Linear -> batch norm -> ReLU -> dropout, the last three as asked for."""

    def __init__(
        self, in_dim: int, out_dim: int, batch_norm: bool = True, relu: bool = True, dropout: float = 0.5
    ) -> None:
        layers: list[nn.Module] = [nn.Linear(in_dim, out_dim)]
        layers += [nn.BatchNorm1d(out_dim)] if batch_norm else []
        layers += [nn.ReLU()] if relu else []
        layers += [nn.Dropout(dropout)] if dropout else []
        super().__init__(*layers)


def named_layers(module: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """Return the submodules of these names; ValueError for a name that none has."""
    modules = dict(module.named_modules())
    if unknown := [name for name in names if name not in modules or not name]:
        raise ValueError(f"the network has no layers {unknown}; it has {', '.join(filter(None, modules))}")
    return {name: modules[name] for name in names}


class Network(nn.Module):
    """x -> backbone -> bottleneck -> z [n, feature_dim] -> head -> logits [n, num_classes].

    Args:
        backbone: any module with an `out_dim`; x is whatever it accepts.
        feature_dim: width of z; without a bottleneck the backbone's own `out_dim`.
        num_classes: width of the logits.
        bottleneck: builds the module between backbone and z from (in_dim, out_dim).
        normalised_head: weight-normalised classifier, as in SHOT.
        batch_norm: see `BatchNormPolicy`.
        backbone_lr_scale: learning rate of the backbone relative to the rest; 0.1 is usual for a pretrained one.
        input: facts about x (channels and size of an image, ...) which the data configs read.
        head: builds the classifier from (feature_dim, num_classes); a linear one by default.
        freeze_backbone: the backbone stays as it is, in evaluation mode, and is not trained.
        adapter: builds the backbone that is trained from `backbone`, such as a `da.models.adapters.Lora`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        num_classes: int,
        bottleneck: Callable[[int, int], nn.Module] | None = None,
        normalised_head: bool = False,
        batch_norm: BatchNormPolicy = "joint",
        backbone_lr_scale: float = 1.0,
        input: Mapping[str, Any] | None = None,
        head: Callable[[int, int], nn.Module] | None = None,
        freeze_backbone: bool = False,
        adapter: Callable[[nn.Module], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if head is not None and normalised_head:
            raise ValueError("net.normalised_head=true is for the linear head, but net.head builds another one")
        if adapter is not None:
            if freeze_backbone:
                raise ValueError("net.freeze_backbone=true would freeze net.adapter too, which freezes the rest itself")
            backbone = adapter(backbone)
        out_dim = cast(int, backbone.out_dim)
        if bottleneck is None and out_dim != feature_dim:
            raise ValueError(
                f"net.feature_dim={feature_dim}, but the backbone gives {out_dim} and there is no bottleneck"
            )
        self.backbone = backbone.requires_grad_(False) if freeze_backbone else backbone
        self.bottleneck = nn.Identity() if bottleneck is None else bottleneck(out_dim, feature_dim)
        self.normalised_head, self.make_head = normalised_head, head
        self.freeze_backbone = freeze_backbone
        self.reads_features = False
        """Whether x is what the frozen backbone gave already: the features were cached."""
        self.resting: list[nn.Module] = []
        """Modules that stay in evaluation mode in training too."""
        self.lr_scales: list[Mapping[str, float]] = []
        """Factors of the learning rate by the names of submodules: of each mapping the longest name counts."""
        self.stages: Sequence[str] = ()
        """Names of submodules that are unfrozen in the course of training."""
        self.feature_dim, self.num_classes = feature_dim, num_classes
        self.batch_norm: BatchNormPolicy = batch_norm
        self.backbone_lr_scale = backbone_lr_scale
        self.input = dict(input or {})
        self.head = self.new_head()
        self.watched: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        share_batch_norm(self)
        self.channels_last = any(isinstance(module, nn.Conv2d) for module in backbone.modules())
        if self.channels_last:
            self.to(memory_format=torch.channels_last)  # a third off a CPU step

    def new_head(self) -> nn.Module:
        """Return a freshly initialised classifier z -> logits."""
        if self.make_head is not None:
            return self.make_head(self.feature_dim, self.num_classes)
        head = nn.Linear(self.feature_dim, self.num_classes)
        return weight_norm(head) if self.normalised_head else head

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        z = self.bottleneck(x if self.reads_features else self.backbone(x))
        return z, self.head(z)

    def train(self, mode: bool = True) -> "Network":
        """Leave a frozen backbone in evaluation mode, and what else is `resting`."""
        super().train(mode)
        if self.freeze_backbone:
            self.backbone.eval()
        for module in self.resting:
            module.training = False  # but not what is inside: some of it may be trained
        return self

    @property
    def own_classes(self) -> bool:
        """Whether each domain has classes of its own."""
        return isinstance(self.head, DomainHeads)

    def num_classes_of(self, role: Role) -> int:
        """How many classes it tells apart in a domain."""
        return self.head.num_classes_of(role) if isinstance(self.head, DomainHeads) else self.num_classes

    def logits_of(self, role: Role, logits: Tensor) -> Tensor:
        """Return the logits [n, c] of a domain's classes: all of them, unless each domain has its own."""
        return self.head.own(role, logits) if isinstance(self.head, DomainHeads) else logits

    def classify(self, role: Role, z: Tensor) -> Tensor:
        """Return the logits [n, c] of a domain's classes for its features.

        Where each domain has its own, the other one's head has no gradient: one of zeros would let weight decay in.
        """
        logits: Tensor = self.head.of(role)(z) if isinstance(self.head, DomainHeads) else self.head(z)
        return logits

    def watch(self, names: Sequence[str]) -> None:
        """Keep the outputs of these submodules in `watched` at every forward pass, and of no others.

        Raises ValueError for a name that no submodule has.
        """
        for hook in self._hooks:
            hook.remove()
        layers = named_layers(self, names)
        self._hooks = [layer.register_forward_hook(partial(self._keep, name)) for name, layer in layers.items()]
        self.watched = {}

    def _keep(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.watched[name] = output

    def parameter_groups(self) -> Iterator[ParameterGroup]:
        """Trainable parameters by part, learning rate and stage; what a backbone calls `fresh` is not slowed down."""
        fresh = [f"backbone.{name}" for name in getattr(self.backbone, "fresh", ())]
        groups: dict[tuple[str, float, str], list[nn.Parameter]] = {}
        for name, p in self.named_parameters():
            part = name.partition(".")[0]
            scale = self.backbone_lr_scale if part == "backbone" and not owner(name, fresh) else 1.0
            for scales in self.lr_scales:
                scale *= scales.get(owner(name, scales) or "", 1.0)
            if p.requires_grad:
                groups.setdefault((part, scale, owner(name, self.stages) or ""), []).append(p)
        for (part, scale, stage), parameters in groups.items():
            yield ParameterGroup(part, parameters, scale, stage)
