"""Any classifier of torchvision as a backbone."""

from typing import Literal

from torch import Tensor, nn
from torchvision import models

from da.models.state import check_fits
from da.models.weight_files import read_weights


class Torchvision(nn.Module):
    """The named torchvision classifier without its last layer: images -> [n, out_dim].

    Args:
        name: one of `torchvision.models.list_models(module=torchvision.models)`.
        weights: None for a random start, the name of a torchvision weights entry ("DEFAULT",
            "IMAGENET1K_V1") which is downloaded and checked, or a .safetensors file of all of the classifier, by its
            path or its name in `<DA_DATA_ROOT>/weights` (see `read_weights`).
        classifier: keep the last layer: images -> logits [n, out_dim] of the classes that it was pretrained on.

    Neither way executes pickled code.
    """

    def __init__(self, name: str, weights: str | None = None, classifier: bool = False) -> None:
        super().__init__()
        known = models.list_models(module=models)
        if name not in known:
            raise ValueError(f"torchvision has no classifier {name!r}; it has {', '.join(known)}")
        model = models.get_model(name, weights=None, **_EXTRA.get(name, {}))
        if weights is not None:
            model.load_state_dict(_state_dict(name, weights, model))
        _drop_auxiliary(model)
        layer_name, layer = _last_layer(model)
        if not classifier:
            model.set_submodule(layer_name, nn.Identity())
        self.out_dim = _width(layer, "out" if classifier else "in")
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.model(x)
        return features.flatten(start_dim=1)


# Saves the half minute that their own truncated-normal start takes on a CPU.
_EXTRA = {name: {"init_weights": False} for name in ("googlenet", "inception_v3")}


def _state_dict(name: str, weights: str, model: nn.Module) -> dict[str, Tensor]:
    entries = models.get_model_weights(name)
    if weights in entries.__members__:
        state: dict[str, Tensor] = entries[weights].get_state_dict(progress=False, check_hash=True, weights_only=True)
        return state
    state = read_weights(weights, f"torchvision's {name} has {', '.join(entries.__members__)}")
    check_fits(state, model.state_dict(), weights, name)
    return state


def _drop_auxiliary(model: nn.Module) -> None:
    """GoogLeNet and Inception return extra outputs in training unless their side branches go."""
    for name in ("aux1", "aux2", "AuxLogits"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
    if hasattr(model, "aux_logits"):
        setattr(model, "aux_logits", False)  # noqa: B010  # nn.Module's attributes are typed as modules


def _last_layer(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return the classifying layer and its name."""
    linear = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    # SqueezeNet classifies by a 1x1 convolution, which is followed by ReLU and pooling.
    convolutions = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    return linear[-1] if linear else convolutions[-1]


def _width(layer: nn.Linear | nn.Conv2d, side: Literal["in", "out"]) -> int:
    """Return how wide the input or the output of a layer is."""
    if isinstance(layer, nn.Linear):
        return layer.in_features if side == "in" else layer.out_features
    return layer.in_channels if side == "in" else layer.out_channels
