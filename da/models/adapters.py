"""Adapters: a few new parameters inside a pretrained backbone, which itself stays as it is."""

import copy
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from da.models.network import Network


class Lora(nn.Module):
    """A backbone whose chosen layers compute W x + (alpha / r) B A x, of which only A and B are trained.

    LoRA, Hu et al. 2022, by the library peft. B starts at 0, so that nothing is changed at the start. W and everything
    else in the backbone need no gradient, and batch norms stay in evaluation mode.

    Args:
        backbone: any module with an `out_dim`.
        layers: names of linear layers and 2-D convolutions, or the ends of their names: "query" is every layer
            called so, "0.attn.qkv" one of a block.
        r: rank of B A.
        alpha: see above.
        dropout: of x before A, in training.

    Raises ImportError without peft, ValueError for a name that no such layer has.
    """

    def __init__(
        self, backbone: nn.Module, layers: Sequence[str], r: int = 8, alpha: float = 16.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        peft = _peft()
        chosen = _named(backbone, layers)
        settings = peft.LoraConfig(r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=chosen)
        self.backbone = peft.inject_adapter_in_model(settings, backbone.requires_grad_(False))
        self.out_dim = cast(int, backbone.out_dim)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Lora":
        """Leave batch norms in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, x: Any) -> Tensor:
        features: Tensor = self.backbone(x)
        return features

    def fold(self) -> nn.Module:
        """Add (alpha / r) B A to every W, in place, and return the backbone without an adapter."""
        tuned = import_module("peft.tuners.tuners_utils").BaseTunerLayer
        for name, layer in [(n, m) for n, m in self.backbone.named_modules() if isinstance(m, tuned)]:
            adapted: Any = layer
            adapted.merge()
            self.backbone.set_submodule(name, adapted.get_base_layer())
        return self.backbone


def merged(net: Network) -> Network:
    """Return a copy of the network with every `Lora` folded into its layers; without any, the network itself."""
    if not any(isinstance(module, Lora) for module in net.modules()):
        return net
    copied = copy.deepcopy(net, {id(net.watched): {}})  # outputs of a past batch can't be copied
    for name, module in list(copied.named_modules()):
        if isinstance(module, Lora):
            copied.set_submodule(name, module.fold())
    return copied


def _named(backbone: nn.Module, layers: Sequence[str]) -> list[str]:
    """Return the full names of the chosen layers."""
    known = list(_adaptable(backbone))
    chosen = {layer: [name for name in known if f".{name}".endswith(f".{layer}")] for layer in layers}
    if not layers or (unknown := [layer for layer, names in chosen.items() if not names]):
        last = sorted({name.rpartition(".")[2] for name in known})
        said = f"names {unknown}, which no layer of the backbone is called" if layers else "names none"
        raise ValueError(f"net.adapter.layers {said}; there are {', '.join(last)} (all: {', '.join(known)})")
    return [name for names in chosen.values() for name in names]


def _adaptable(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """Names of the layers that an adapter can be in; PyTorch's attention reads the weights of its own past them."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear | nn.Conv2d):
            yield prefix + name
        elif not isinstance(child, nn.MultiheadAttention):
            yield from _adaptable(child, f"{prefix}{name}.")


def _peft() -> ModuleType:
    try:
        return import_module("peft")
    except ImportError as error:
        raise ImportError("an adapter needs peft: pip install 'lambda-da[peft]'") from error
