"""Linear layers, batch norms and dropout of many runs: an operation a run, of the size that it has in a run by itself.

Operations of the same sizes round alike, so a run in a stack stays the run by itself, mostly to the last bit. And one
batched product over all runs would be slower on a CPU: the gradient of its weights comes transposed, and is copied.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class _Linears(torch.autograd.Function):
    """x [n, d] of all runs, or [K, n, d] of each, times w [K, o, d] transposed, plus b [K, o]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, w)
        y = w.new_empty(len(w), x.shape[-2], w.shape[1])
        for k in range(len(w)):
            own = x if x.ndim == 2 else x[k]
            if b is None:
                torch.mm(own, w[k].T, out=y[k])
            else:
                torch.addmm(b[k], own, w[k].T, out=y[k])
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, w = ctx.saved_tensors
        for_x, for_w, for_b = ctx.needs_input_grad
        grad_x = grad.new_empty(len(w), *x.shape[-2:]) if for_x else None
        grad_w = torch.empty_like(w) if for_w else None
        for k in range(len(w)):
            if grad_x is not None:
                torch.mm(grad[k], w[k], out=grad_x[k])
            if grad_w is not None:
                torch.mm(grad[k].T, x if x.ndim == 2 else x[k], out=grad_w[k])
        if grad_x is not None and x.ndim == 2:
            grad_x = grad_x.sum(dim=0)
        return grad_x, grad_w, grad.sum(dim=1) if for_b else None


class _OfEach(torch.autograd.Function):
    """A function that has a rule of its own under `torch.vmap`."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass  # called where nothing differs from run to run, as in a frozen backbone: nobody wants a gradient


class _Linear(_OfEach):
    """`F.linear`, which `torch.vmap` over the weights turns into `_Linears`."""

    @staticmethod
    def forward(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return F.linear(x, w, b)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, w: Tensor, b: Tensor | None
    ) -> tuple[Tensor, int | None]:
        x, w = (v if d is None else v.movedim(d, 0) for v, d in zip((x, w), in_dims, strict=False))
        b = b if in_dims[2] is None or b is None else b.movedim(in_dims[2], 0)
        of_each = in_dims[0] is not None
        if in_dims[1] is None:  # weights that are not trained
            return (F.linear(x, w, b) if b is None or in_dims[2] is None else F.linear(x, w) + _rows(b, x)), 0
        if b is not None and in_dims[2] is None:
            b = b.expand(len(w), -1)
        rows = x.flatten(1, -2) if of_each else x.flatten(0, -2)
        y = _Linears.apply(rows, w, b)
        return y.unflatten(1, x.shape[int(of_each) : -1]), 0


def _rows(b: Tensor, x: Tensor) -> Tensor:
    return b.view(len(b), *[1] * (x.ndim - 2), b.shape[1])


class _BatchNorm(_OfEach):
    """`F.batch_norm`, which `torch.vmap` turns into one for each run, with running statistics of its own."""

    @staticmethod
    def forward(x: Tensor, *options: Any) -> Tensor:
        return F.batch_norm(x, *options)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int | None]:
        of_each = [
            [value] * info.batch_size if dim is None else value.movedim(dim, 0).unbind()
            for value, dim in zip(inputs, in_dims, strict=True)
        ]
        return torch.stack([F.batch_norm(*own) for own in zip(*of_each, strict=True)]), 0


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    return _Linear.apply(input, weight, bias)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    return _BatchNorm.apply(input, running_mean, running_var, weight, bias, training, momentum, eps)


_LAYERS: dict[Any, Any] = {F.linear: _linear, F.batch_norm: _batch_norm}


class LayersOfEach(TorchFunctionMode):
    """Context in which `F.linear`, `F.batch_norm` and `F.dropout` under `torch.vmap` are those of each run.

    Args:
        generators: where the runs have several seeds one for each, in the state of the default one in a run by itself.
        seed: number of the run's seed, a tensor without dimensions.
    """

    def __init__(self, generators: Sequence[torch.Generator] = (), seed: Tensor | None = None) -> None:
        super().__init__()
        self.generators, self.seed = generators, seed

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.dropout and self.generators:
            return self._dropout(*args, **(kwargs or {}))
        return _LAYERS.get(func, func)(*args, **(kwargs or {}))

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return input
        assert self.seed is not None
        masks = [input.new_empty(input.shape).bernoulli_(1 - p, generator=g).div_(1 - p) for g in self.generators]
        return input * torch.stack(masks).index_select(0, self.seed[None])[0]
