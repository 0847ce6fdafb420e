"""Virtual adversarial training: predictions that do not change nearby."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from da.discrepancies.base import Draws
from da.distributed import shard, world_size
from da.models.batch_norm import keep_running_statistics
from da.models.network import Network
from da.terms.base import Term
from da.types import ROLE_OF_STREAM, Step

Classify = Callable[[Tensor], Tensor]


def classifier_and_input(step: Step, stream: str, who: str) -> tuple[Classify, Float[Tensor, "n ..."]]:
    """Return x -> logits and the stream's input, for a term that changes x and runs the network again.

    Raises ValueError for an x that has no gradient: token numbers, or a dict of several tensors.
    """
    assert step.net is not None, "a method puts its network into every step"
    x = step.batch[stream].x
    if not isinstance(x, Tensor) or not x.is_floating_point():
        given = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
        raise ValueError(f"{who} changes the input of {stream!r}, so it must be a floating point tensor, got {given}")
    net = step.net

    def classify(x: Tensor) -> Tensor:
        z, logits = net(x)
        own = isinstance(net, Network) and net.own_classes
        return cast(Network, net).classify(ROLE_OF_STREAM[stream], z) if own else logits

    return classify, x


def unit_rows(x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    """Divide each row by its Euclidean norm; a row of zeros stays one."""
    flat = x.flatten(1)
    # by the largest entry first: the square of a gradient of 1e-25 is 0 in single precision
    flat = flat / flat.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    return F.normalize(flat, dim=1).view_as(x)


def mean_kl(log_p: Float[Tensor, "n c"], logits: Float[Tensor, "n c"]) -> Float[Tensor, ""]:
    """Mean over the rows of KL(p || softmax(logits))."""
    return F.kl_div(logits.log_softmax(dim=1), log_p, log_target=True, reduction="batchmean")


class Vat(Term):
    """Mean over the rows of KL(p(x) || p(x + r)), r the direction of length `radius` in which it is largest.

    Miyato et al. 2018, eq. 5-11; VADA (Shu et al. 2018) adds it on both domains. r is found by power iteration on the
    Hessian of the KL, whose products are finite differences: d <- unit(gradient of KL at r = xi d), from a random d.
    p(x) and r are held constant in backward, so the gradient comes through p(x + r) alone. Costs 2 + `power_iterations`
    further forward passes and 1 + `power_iterations` backward passes over each stream.

    Each stream is run by itself, p(x) too: its batch statistics must be those of p(x + r), or the KL would not be 0 at
    r = 0. Running statistics of batch norms are not touched. Where the finite difference vanishes the random direction
    stays. Inputs must be floating point tensors: ValueError otherwise.

    Args:
        radius: Euclidean length of r, in units of the network's input, over a whole row.
        xi: step of the finite difference. At 1e-2 the direction is that of the exact Hessian to three digits; at the
            authors' 1e-6 single precision rounds it away (cosine 0.3 to 0.4 on 28 x 28 images).
        power_iterations: the paper's K, 1 in all of its experiments.
        streams: those it is summed over.
        seed: of the random directions.
    """

    order_invariant = False

    def __init__(
        self,
        radius: float = 1.0,
        xi: float = 1e-2,
        power_iterations: int = 1,
        streams: Sequence[str] = ("target",),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if radius <= 0 or xi <= 0 or power_iterations < 1:
            raise ValueError(
                f"radius and xi must be positive and power_iterations at least 1, got radius={radius}, xi={xi}, "
                f"power_iterations={power_iterations}"
            )
        if not streams:
            raise ValueError("streams must name one or more, such as [source, target], got none")
        self.radius, self.xi, self.power_iterations = radius, xi, power_iterations
        self.ordered = tuple(dict.fromkeys(streams))  # a set's order differs between processes, and so would the draws
        self.streams = frozenset(streams)
        self.draws = Draws(seed)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        return torch.stack([self._change_nearby(step, stream) for stream in self.ordered]).sum()

    def _change_nearby(self, step: Step, stream: str) -> Float[Tensor, ""]:
        classify, x = classifier_and_input(step, stream, "Vat")
        with keep_running_statistics(step.net):
            with torch.no_grad():
                log_p = classify(x).log_softmax(dim=1)
            r = self.radius * self._direction(classify, x.detach(), log_p)
            return mean_kl(log_p, classify(x + r))

    def _direction(
        self, classify: Classify, x: Float[Tensor, "n ..."], log_p: Float[Tensor, "n c"]
    ) -> Float[Tensor, "n ..."]:
        shape = (world_size() * len(x), *x.shape[1:])
        d = unit_rows(shard(torch.randn(shape, generator=self.draws.generator())).to(x))
        for _ in range(self.power_iterations):
            with torch.enable_grad():
                probe = (self.xi * d).requires_grad_()
                (gradient,) = torch.autograd.grad(mean_kl(log_p, classify(x + probe)), probe)
            gradient = unit_rows(gradient)
            d = torch.where(gradient.flatten(1).any(dim=1).view(-1, *[1] * (x.ndim - 1)), gradient, d)
        return d
