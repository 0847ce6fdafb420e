"""Wasserstein distances of one-dimensional projections."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from da.discrepancies.base import Discrepancy, Draws


def quantile_coupling(n: int, m: int, like: Tensor) -> tuple[Int[Tensor, " l"], Int[Tensor, " l"], Float[Tensor, " l"]]:
    """Return ranks i, ranks j and masses [n + m] of the optimal coupling of n and m sorted numbers of equal weight.

    The quantile functions are constant between the merged cumulative weights i/n and j/m; these are counted in
    units of 1/(n m), as integers, so the coupling is exact. Where i/n = j/m a piece has mass 0. Optimal for every
    convex cost of the difference. `like` gives device and dtype.
    """
    ends_s = torch.arange(1, n + 1, device=like.device) * m
    ends_t = torch.arange(1, m + 1, device=like.device) * n
    ends = torch.cat([ends_s, ends_t]).sort().values
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    # The last piece is empty and starts at the very end, behind the last rank.
    i, j = (starts // m).clamp_max(n - 1), (starts // n).clamp_max(m - 1)
    return i, j, (ends - starts).to(like.dtype) / (n * m)


def projected_wasserstein(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], directions: Float[Tensor, "k d"], p: float
) -> Float[Tensor, " k"]:
    """W_p^p between the projections on each direction, which is held constant in backward, as is the coupling.

    The rows are centred first: distances do not change, rounding errors shrink.
    """
    centre = torch.cat([z_s, z_t]).mean(dim=0).detach()
    sorted_s = ((z_s - centre) @ directions.T).sort(dim=0).values
    sorted_t = ((z_t - centre) @ directions.T).sort(dim=0).values
    i, j, mass = quantile_coupling(len(z_s), len(z_t), z_s)
    return mass @ (sorted_s[i] - sorted_t[j]).abs().pow(p)


def unit(v: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """Return the rows over their norms; a row of zeros stays one."""
    return v / v.norm(dim=1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny)


@torch.compiler.disable  # a compiled caller would be compiled anew for each count of the draws
def random_directions(draws: Draws, k: int, like: Float[Tensor, "n d"]) -> Float[Tensor, "k d"]:
    """Return k directions, uniform on the sphere; the numbers depend on neither the device nor the dtype of `like`."""
    return unit(torch.randn(k, like.shape[1], generator=draws.generator(), dtype=torch.float64)).to(like)


class Swd(Discrepancy):
    """Sliced Wasserstein distance to the power p: the mean of W_p^p over random directions (Bonneel et al. 2015).

    A Monte Carlo estimate of the integral over the unit sphere, with `num_projections` new directions at each call
    and no root taken, so that it is smooth at 0. A shift by v alone costs |v|^2 / d for p = 2, on average. W_p of
    the projections is exact, by sorting, for n != m too; the coupling is held constant in backward, which is the
    exact gradient wherever no two projections are equal. D(x, x) = 0. Not the sliced Wasserstein
    discrepancy of Lee et al. 2019, which compares the outputs of two classifiers.
    """

    rotation_invariant = False  # only the integral over all directions is

    def __init__(self, num_projections: int = 128, p: float = 2.0, seed: int = 0) -> None:
        super().__init__()
        if num_projections < 1:
            raise ValueError(f"num_projections must be 1 or more, got {num_projections}")
        if p < 1:
            raise ValueError(f"p must be 1 or more, got {p}")
        self.num_projections, self.p = num_projections, p
        self.draws = Draws(seed)

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        directions = random_directions(self.draws, self.num_projections, z_s)
        return projected_wasserstein(z_s, z_t, directions, self.p).mean()


def longest(x: Float[Tensor, "n d"]) -> Float[Tensor, "1 d"]:
    """Return the row with the largest norm."""
    return x.index_select(0, x.norm(dim=1).argmax()[None])


def wasserstein_and_slope(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], directions: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"]]:
    """W_2^2 of the projections, and half its gradient in the direction, from the differences of the coupled rows."""
    i, j, mass = quantile_coupling(len(x), len(y), x)
    delta = x[(x @ directions.T).argsort(dim=0)[i]] - y[(y @ directions.T).argsort(dim=0)[j]]  # [n + m, k, d]
    along = (delta * directions).sum(dim=2)
    return mass @ along.square(), torch.einsum("l,lk,lkd->kd", mass, along, delta)


@torch.compiler.disable  # a compiler would unroll all the steps
@torch.no_grad()
def max_direction(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], num_steps: int, step_size: float
) -> Float[Tensor, "1 d"]:
    """Return the direction of the largest W_2^2 seen on two ascents, their starts included.

    The starts are the difference of the means and the row farthest from the mean of all rows: both turn
    with the clouds, and the second one is there when the means are equal. A step is
    w <- unit(w + step_size * gradient / |gradient|), at rest where the gradient is along w. The best is kept, because
    W_2^2 has kinks where the coupling changes, and a maximum may lie on one.
    """
    centred = torch.cat([z_s, z_t]) - torch.cat([z_s, z_t]).mean(dim=0)
    centred = centred / centred.abs().amax().clamp_min(torch.finfo(z_s.dtype).tiny)  # a direction has no scale
    x, y = centred.split([len(z_s), len(z_t)])
    directions = best = unit(torch.cat([(x.mean(dim=0) - y.mean(dim=0))[None], longest(centred)]))
    value, slope = wasserstein_and_slope(x, y, directions)
    highest = value
    for _ in range(num_steps):
        directions = unit(directions + step_size * unit(slope))
        value, slope = wasserstein_and_slope(x, y, directions)
        best = torch.where((value > highest)[:, None], directions, best)
        highest = torch.maximum(value, highest)
    return best.index_select(0, highest.argmax()[None])


class MaxSwd(Discrepancy):
    """Max-sliced Wasserstein distance, squared: the largest W_2^2 over all directions (Deshpande et al. 2019).

    The direction comes from `max_direction`, so the value is a lower bound of the maximum, which grows with
    `num_steps`, and never less than the squared distance of the means. W_2 of the projections is exact, for n != m
    too. Direction and coupling are held constant in backward: at a smooth maximum the derivative of the direction
    adds nothing (envelope theorem); before it, and at a maximum on a kink, this is the exact gradient for the found
    direction only. D(x, x) = 0.
    """

    exact_gradient = False

    def __init__(self, num_steps: int = 20, step_size: float = 1.0) -> None:
        super().__init__()
        if num_steps < 0:
            raise ValueError(f"num_steps must be 0 or more, got {num_steps}")
        if step_size <= 0:
            raise ValueError(f"step_size must be positive, got {step_size}")
        self.num_steps, self.step_size = num_steps, step_size

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        direction = max_direction(z_s, z_t, self.num_steps, self.step_size)
        return projected_wasserstein(z_s, z_t, direction, 2.0).sum()
