"""Entropic optimal transport, and the divergence without its bias."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.discrepancies.kernels import squared_distances


def ground_cost(d2: Float[Tensor, "n m"], p: float) -> Float[Tensor, "n m"]:
    """|x - y|^p from the squared distances; the gradient at coincident points is 0."""
    return d2 if p == 2 else d2.clamp_min(torch.finfo(d2.dtype).tiny).pow(p / 2)


def soft_minimum(
    cost: Float[Tensor, "n m"], g: Float[Tensor, " m"], temperature: Float[Tensor, ""]
) -> Float[Tensor, " n"]:
    """Return -t log of the mean over j of exp((g_j - C_ij) / t): half a Sinkhorn step, in the log domain."""
    return -temperature * (torch.logsumexp((g - cost) / temperature, dim=1) - math.log(cost.shape[1]))


@torch.compiler.disable  # a compiler would unroll all the steps
@torch.no_grad()
def potentials(
    cost: Float[Tensor, "n m"], epsilon: float, rho: float | None, num_iterations: int
) -> tuple[Float[Tensor, " n"], Float[Tensor, " m"]]:
    """Dual potentials f and g of entropic transport between uniform weights.

    Both move at once, each half way: f <- (f + T g) / 2 and g <- (g + T f) / 2, where T is `soft_minimum`, times
    rho / (rho + epsilon) if the marginals are penalised by rho KL. So source and target may change places, and the
    balanced plan has mass 1 at most after every step. During the first half of the steps epsilon falls geometrically
    from the largest cost, for the second half it is what was asked for.
    """
    f, g = cost.new_zeros(cost.shape[0]), cost.new_zeros(cost.shape[1])
    num_annealed = num_iterations // 2
    start = (cost.amax() / epsilon).clamp_min(1)
    for step in range(num_iterations):
        temperature = epsilon * start ** (max(0, num_annealed - step) / max(1, num_annealed))
        damping = 1.0 if rho is None else rho / (rho + temperature)
        f, g = (
            (f + damping * soft_minimum(cost, g, temperature)) / 2,
            (g + damping * soft_minimum(cost.T, f, temperature)) / 2,
        )
    return f, g


@torch.compiler.disable
@torch.no_grad()
def self_potential(cost: Float[Tensor, "n n"], epsilon: float, rho: float | None) -> Float[Tensor, " n"]:
    """Dual potential f = g between a cloud and itself: each step at least halves what is left, so that 40 will do."""
    f, temperature = cost.new_zeros(len(cost)), cost.new_tensor(epsilon)
    damping = 1.0 if rho is None else rho / (rho + epsilon)
    for _ in range(40):
        f = (f + damping * soft_minimum(cost, f, temperature)) / 2
    return f


def density(
    cost: Float[Tensor, "n m"], f: Float[Tensor, " n"], g: Float[Tensor, " m"], epsilon: float
) -> Float[Tensor, "n m"]:
    """Plan over the product of the uniform weights 1/n and 1/m: exp((f_i + g_j - C_ij) / epsilon)."""
    return torch.exp((f[:, None] + g[None, :] - cost) / epsilon)


def entropic_cost(
    cost: Float[Tensor, "n m"], f: Float[Tensor, " n"], g: Float[Tensor, " m"], epsilon: float, rho: float | None
) -> Float[Tensor, ""]:
    """OT_eps = min over plans P of <P, C> + eps KL(P | 1/nm), by its dual; P has uniform marginals 1/n and 1/m.

    With `rho` the marginals need not be met, and rho KL(marginal | uniform) is added for each side
    (Sejourne et al. 2019). KL(P | Q) = sum of P log(P/Q) - P + Q. The potentials f and g are held constant in backward:
    the derivative in C is then the plan itself, which at the optimum is exact (envelope theorem), and no step is
    differentiated. Away from the optimum the value is a lower bound.
    """
    if rho is None:
        marginals = f.mean() + g.mean()
    else:
        marginals = -rho * (torch.expm1(-f / rho).mean() + torch.expm1(-g / rho).mean())
    return marginals - epsilon * (density(cost, f, g, epsilon).mean() - 1)


def entropic_plan(cost: Float[Tensor, "n m"], epsilon: float, num_iterations: int) -> Float[Tensor, "n m"]:
    """Minimiser of <P, C> + s epsilon KL(P | 1/nm) for uniform weights, s the mean cost; no gradient.

    The marginals 1/n and 1/m are met as far as the steps reach; the mass is 1 at most.
    """
    cost = cost.detach()
    cost = cost / cost.mean().clamp_min(torch.finfo(cost.dtype).tiny)
    f, g = potentials(cost, epsilon, None, num_iterations)
    return density(cost, f, g, epsilon) / cost.numel()


def sinkhorn_divergence(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    epsilon: float = 0.1,
    reach: float | None = None,
    p: float = 2.0,
    num_iterations: int = 100,
    scale: float | None = None,
) -> Float[Tensor, ""]:
    """OT(x, y) - OT(x, x) / 2 - OT(y, y) / 2 (Feydy et al. 2019), OT as in `entropic_cost`; see `Sinkhorn`."""
    n = len(z_s)
    cost = ground_cost(squared_distances(torch.cat([z_s, z_t])), p)
    unit = cost[:n, n:].mean().detach() if scale is None else cost.new_tensor(scale)
    unit = unit.clamp_min(torch.finfo(cost.dtype).tiny)  # all rows equal: every cost is 0
    cost = cost / unit  # the potentials are then numbers around 1 for features of any size
    rho = None if reach is None else reach**p
    within = []
    for block in (cost[:n, :n], cost[n:, n:]):
        f = self_potential(block.detach(), epsilon, rho)
        within.append(entropic_cost(block, f, f, epsilon, rho))
    f, g = potentials(cost[:n, n:].detach(), epsilon, rho, num_iterations)
    return unit * (entropic_cost(cost[:n, n:], f, g, epsilon, rho) - sum(within) / 2)


class Sinkhorn(Discrepancy):
    """Sinkhorn divergence OT(x, y) - OT(x, x) / 2 - OT(y, y) / 2 (Feydy et al. 2019), OT as in `entropic_cost`.

    The cost is |x - y|^p, without a factor 1/p. For p = 2 it goes from W_2^2 (epsilon -> 0) to the squared distance
    of the means (epsilon -> infinity), and a shift by v alone costs |v|^2 at every epsilon. D(x, x) = 0.

    All lengths are relative to `scale`, a cost; None takes the mean cost between the clouds, held constant in
    backward. The blur is epsilon * scale. Beyond `reach`, a length in units of scale^(1/p), mass is not worth moving:
    each marginal is penalised by reach^p * scale * KL (Sejourne et al. 2019); None demands both marginals.
    `num_iterations` symmetric Sinkhorn steps are made, without an early stop: on overlapping normal clouds and at
    epsilon = 0.1, after 100 of them less than 1e-3 of the mass is in a wrong row, and D is wrong by less than 1e-6 of
    the scale; the number needed grows as 1 / epsilon. The potentials are held constant in backward (envelope theorem),
    so the gradient is wrong by as much as the mass.
    """

    def __init__(
        self,
        epsilon: float = 0.1,
        reach: float | None = None,
        p: float = 2.0,
        num_iterations: int = 100,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        if epsilon <= 0:
            raise ValueError(f"epsilon must be positive (a fraction of the scale), got {epsilon}")
        if reach is not None and reach <= 0:
            raise ValueError(f"reach must be positive or null (mass is conserved), got {reach}")
        if p < 1:
            raise ValueError(f"p must be 1 or more, got {p}")
        if num_iterations < 1:
            raise ValueError(f"num_iterations must be 1 or more, got {num_iterations}")
        if scale is not None and scale <= 0:
            raise ValueError(f"scale must be positive (a cost) or null (the mean cost), got {scale}")
        self.epsilon, self.reach, self.p = epsilon, reach, p
        self.num_iterations, self.scale = num_iterations, scale

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return sinkhorn_divergence(z_s, z_t, self.epsilon, self.reach, self.p, self.num_iterations, self.scale)
