"""Any image model of timm as a backbone."""

from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from math import isclose
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from da.models.state import check_fits
from da.models.weight_files import read_weights

DOWNLOAD = "DEFAULT"


class Timm(nn.Module):
    """The named model of timm, pooled and without its classifier: images [n, 3, size, size] -> [n, out_dim].

    Args:
        name: one of `timm.list_models()`, with or without the tag of its weights ("vit_small_patch16_224.augreg_in1k").
        weights: None for a random start, "DEFAULT" for timm's own, which are downloaded, or a .safetensors file, by its
            path or its name in `<DA_DATA_ROOT>/weights` (see `read_weights`), with or without a classifier in it.
        size: of the images, for models that are built for one size, such as vision transformers; None: their own.
        mean, std: by which the images are normalised. With weights="DEFAULT" they must be those that the weights were
            trained with, which are not the same for all of timm's models; None: not compared.
        pooled: False: maps [n, out_dim, h, w] as they are before the pooling, for `da.models.branches` to fuse.
        classifier: keep it: images -> logits [n, out_dim] of the classes that it was pretrained on.

    No way executes pickled code. Raises ImportError without timm, ValueError for an unknown name or a wrong
    normalisation, and what `read_weights` raises.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        pooled: bool = True,
        classifier: bool = False,
    ) -> None:
        super().__init__()
        timm = _timm()
        if not timm.is_model(name):
            known = timm.list_models()
            near = get_close_matches(name, known, 5, 0.4) or known[:5]
            raise ValueError(f"timm has no model {name!r}; it has {len(known)}, among them {', '.join(near)}")
        config = timm.get_pretrained_cfg(name).to_dict()
        if weights == DOWNLOAD:
            _check_normalisation(name, config, {"mean": mean, "std": std})
        options: dict[str, Any] = {} if pooled else {"global_pool": ""}
        if size is not None and config.get("fixed_input_size"):
            options["img_size"] = size
        if not classifier:
            options["num_classes"] = 0
        model: nn.Module = timm.create_model(name, pretrained=weights == DOWNLOAD, **options)
        if weights not in (None, DOWNLOAD):
            model.load_state_dict(_state_dict(name, str(weights), () if classifier else config["classifier"], model))
        _separate_activations(model)
        self.name, self.model = name, model
        # Not num_features, which is before the head's layers.
        self.out_dim: int = model.num_classes if classifier else model.head_hidden_size  # type: ignore[assignment]
        if not self.out_dim:
            raise ValueError(f"timm's {name} was pretrained without classes: it has no classifier to keep")

    def extra_repr(self) -> str:
        return self.name

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.model(x)
        return features


def _timm() -> ModuleType:
    try:
        return import_module("timm")
    except ImportError as error:
        raise ImportError("this network needs timm: pip install 'lambda-da[timm]'") from error


def _check_normalisation(name: str, config: dict[str, Any], given: dict[str, Sequence[float] | None]) -> None:
    for key, values in given.items():
        expected = list(config[key])
        if values is not None and not all(map(isclose, values, expected)):
            raise ValueError(
                f"net.input.{key}={list(values)}, but the weights of {name} were trained with {expected}: set "
                f"net.input.{key}={str(expected).replace(' ', '')}"
            )


def _state_dict(name: str, weights: str, classifier: str | Sequence[str], model: nn.Module) -> dict[str, Tensor]:
    layers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    heads = tuple(f"{layer}." for layer in layers)
    read = read_weights(weights, f"timm's {name} has {DOWNLOAD}")
    state = {key: value for key, value in read.items() if not key.startswith(heads)}
    check_fits(state, model.state_dict(), weights, name)
    return state


def _separate_activations(module: nn.Module) -> None:
    """Make three layers of timm's batch norms that have dropout and activation inside, for theirs are not shared."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d) and hasattr(child, "act"):
            norm = nn.BatchNorm2d(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            norm.load_state_dict({key: value for key, value in child.state_dict().items() if "." not in key})
            setattr(module, name, nn.Sequential(norm, child.get_submodule("drop"), child.get_submodule("act")))
        else:
            _separate_activations(child)
