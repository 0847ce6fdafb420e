"""Gradients of single terms on what they share with the task: the features, or the network's parameters."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from da.distributed import mean_over_ranks
from da.types import Step


def shared_gradients(
    name: str, losses: Mapping[str, Tensor], step: Step, layers: Sequence[str] = ()
) -> dict[str, Float[Tensor, " k"]]:
    """Return the gradient of every loss, flattened, on the tensors that `losses[name]` acts on.

    These are the `layers` it names, with the features in place of a part of the head, else the features; for a
    loss that runs the network once more, and so does not depend on the features of this step, the network's
    parameters. A loss that reaches none of them has the gradient 0. The graph is kept, nothing is added to any
    `.grad`.
    """
    features = _features(step, layers)
    own = _gradients(losses[name], features)
    if all(gradient is None for gradient in own):
        parameters = _parameters(step)
        # Processes add up their rows' shares of it, where features are each process's own rows.
        found = {key: _flat(loss, _gradients(loss, parameters), parameters) for key, loss in losses.items()}
        return {key: mean_over_ranks(gradient) for key, gradient in found.items()}
    others = {key: loss for key, loss in losses.items() if key != name}
    found = {key: _flat(loss, _gradients(loss, features), features) for key, loss in others.items()}
    return found | {name: _flat(losses[name], own, features)}


def inner_product(a: Float[Tensor, " k"], b: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    """Mean over the processes of <a, b>: ratios and cosines are those of the whole batch."""
    return mean_over_ranks((a * b).sum())


def _features(step: Step, layers: Sequence[str]) -> list[Tensor]:
    # Two heads have no outputs in common, but both have their gradients on the features.
    named = dict.fromkeys("z" if layer.startswith("head.") else layer for layer in layers or ("z",))
    tensors = [x for layer in named for x in step.whole.get(layer, ())]
    return [tensor for tensor in tensors if tensor.requires_grad]


def _parameters(step: Step) -> list[Tensor]:
    return [p for p in cast(nn.Module, step.net).parameters() if p.requires_grad] if step.net is not None else []


def _gradients(loss: Tensor, tensors: list[Tensor]) -> Sequence[Tensor | None]:
    if not loss.requires_grad or not tensors:
        return [None] * len(tensors)
    return torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)


def _flat(loss: Tensor, gradients: Sequence[Tensor | None], tensors: list[Tensor]) -> Tensor:
    pairs = zip(tensors, gradients, strict=True)
    parts = [(torch.zeros_like(x) if g is None else g).flatten() for x, g in pairs]
    return torch.cat(parts) if parts else loss.new_zeros(0)
