"""Gradient penalty on a critic of two domains."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from da.discrepancies.base import Draws
from da.distributed import gather, shard


def interpolates(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], generator: torch.Generator
) -> Float[Tensor, "k d"]:
    """Return a uniformly drawn point between row i mod n of `z_s` and row i mod m of `z_t`, for i < max(n, m)."""
    n, m = len(z_s), len(z_t)
    rows = torch.arange(max(n, m), device=z_s.device)
    # Drawn on the CPU: the numbers do not depend on the device.
    mix = torch.rand(max(n, m), 1, generator=generator, dtype=torch.float64).to(z_s)
    return torch.lerp(z_t[rows % m], z_s[rows % n], mix)


def gradient_penalty(critic: nn.Module, points: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
    """Mean over the points of (|grad f|_2 - 1)^2, for the gradient of the critic f there; points held constant."""
    points = points.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    return (torch.linalg.vector_norm(gradient, dim=1) - 1).square().mean()


class GradientPenalty(nn.Module):
    """`gradient_penalty` at the rows of both domains and at `interpolates` of the batch of all processes, alike.

    A mean over this process's points, of which every process has the same number. The features are held constant. The
    count of the draws is saved, so a resumed run goes on with the next.
    """

    def __init__(self) -> None:
        super().__init__()
        self.draws = Draws()

    def forward(self, critic: nn.Module, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        z_s, z_t = z_s.detach(), z_t.detach()
        between = interpolates(gather(z_s), gather(z_t), self.draws.generator())
        return gradient_penalty(critic, torch.cat([z_s, z_t, shard(between)]))
