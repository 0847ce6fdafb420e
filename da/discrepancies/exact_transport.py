"""Exact optimal transport between two small clouds."""

import math
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.discrepancies.kernels import squared_distances
from da.discrepancies.sinkhorn import ground_cost

LARGEST_ASSIGNMENT = 1024  # rows and columns: some tenths of a second


def assignment_plan(cost: np.ndarray) -> np.ndarray:
    """Optimal plan [n, m] of uniform weights: each row is repeated until both sides have lcm(n, m), then assigned."""
    n, m = cost.shape
    size = math.lcm(n, m)
    rows, columns = linear_sum_assignment(cost.repeat(size // n, axis=0).repeat(size // m, axis=1))
    pairs = (rows // (size // n)) * m + columns // (size // m)
    return np.bincount(pairs, minlength=n * m).reshape(n, m) / size


def simplex_plan(cost: np.ndarray) -> np.ndarray:
    """Optimal plan [n, m] of uniform weights by POT's network simplex."""
    return import_module("ot").emd([], [], cost, numItermax=10_000_000)


def solve(cost: np.ndarray) -> np.ndarray:
    """Optimal plan [n, m] of uniform weights, with the best solver that is there."""
    n, m = cost.shape
    if n != m and find_spec("ot") is not None:
        return simplex_plan(cost)
    if math.lcm(n, m) <= max(n, m, LARGEST_ASSIGNMENT):
        return assignment_plan(cost)
    raise ValueError(
        f"exact transport of {n} to {m} rows is an assignment of {math.lcm(n, m)} rows, more than "
        f"{LARGEST_ASSIGNMENT}: take batches of one size, or of sizes with a common factor, or install POT"
    )


@torch.compiler.disable
def optimal_plan(cost: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Plan P that minimises <P, C>, its rows summing to 1/n and its columns to 1/m; no gradient.

    Solved on the CPU in float64: one assignment if n = m, O(n^3); else by POT's network simplex where POT is
    installed; else by the assignment of rows repeated to lcm(n, m), up to 1024. ValueError beyond that, and for
    costs that are not finite.
    """
    cost64 = cost.detach().double().cpu()
    if not cost64.isfinite().all():
        raise ValueError("the costs of transport are not all finite: features or logits are NaN or too large")
    # The tolerance of the simplex is absolute.
    cost64 = cost64 / cost64.amax().clamp_min(torch.finfo(cost64.dtype).tiny)
    return torch.from_numpy(solve(cost64.numpy())).to(cost)


def transport_cost(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], p: float = 2.0) -> Float[Tensor, ""]:
    """W_p^p, the p-th power of the Wasserstein distance: sum of P_ij |x_i - y_j|^p with the optimal plan P.

    P is held constant in backward, which is the exact gradient wherever the optimal plan is unique (envelope theorem).
    """
    n = len(z_s)
    cost = ground_cost(squared_distances(torch.cat([z_s, z_t]))[:n, n:], p)
    return (optimal_plan(cost) * cost).sum()


class ExactTransport(Discrepancy):
    """`transport_cost` as a module: W_2^2 for p = 2, where a shift by v alone costs |v|^2. D(x, x) = 0.

    On two samples of one distribution it is not 0, and decreases slowly with n in high dimension.
    """

    def __init__(self, p: float = 2.0) -> None:
        super().__init__()
        if p < 1:
            raise ValueError(f"p must be 1 or more, got {p}")
        self.p = p

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return transport_cost(z_s, z_t, self.p)
