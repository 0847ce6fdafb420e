"""Optimal transport of features and labels together."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from da.discrepancies.exact_transport import optimal_plan
from da.discrepancies.kernels import squared_distances
from da.discrepancies.sinkhorn import entropic_plan


def joint_cost(
    z_s: Float[Tensor, "n d"],
    p_s: Float[Tensor, "n c"],
    z_t: Float[Tensor, "m d"],
    logits_t: Float[Tensor, "m c"],
    alpha: float,
    lambda_t: float,
) -> Float[Tensor, "n m"]:
    """C_ij = alpha |z_s_i - z_t_j|^2 + lambda_t H(p_s_i, softmax(logits_t_j)), H the cross-entropy in nats."""
    n = len(z_s)
    d2 = squared_distances(torch.cat([z_s, z_t]))[:n, n:]
    return alpha * d2 - lambda_t * (p_s @ logits_t.log_softmax(dim=1).T)


class DeepJdot(nn.Module):
    """Cost of transporting source features and labels to target features and predictions (Damodaran et al. 2018).

    Sum over i, j of P_ij C_ij, C as in `joint_cost`, where the plan P has uniform marginals 1/n and 1/m: a mean over
    pairs, so it does not grow with the batch. The squared distance is a sum over the d features. Minimising it moves
    both features and the target's logits: a target row learns the labels of the source rows that it is coupled to.

    `solver` exact takes the P that minimises it. sinkhorn takes the P that minimises it plus
    s epsilon KL(P | 1/nm), s the mean cost, after `num_iterations` steps; the entropy is not in the value. P is held
    constant in backward, as in the paper's alternation: for exact this is the gradient of the minimum (envelope
    theorem), for sinkhorn that of the minimum with the entropy, s fixed. Not 0 at equality: what the classifier does
    not know remains. `p_s` is one-hot where the label is known. Batches of a few rows of each class are
    needed, or the plan must couple different classes.
    """

    def __init__(
        self,
        alpha: float = 0.001,
        lambda_t: float = 0.0001,
        solver: str = "exact",
        epsilon: float = 0.1,
        num_iterations: int = 100,
    ) -> None:
        super().__init__()
        if alpha < 0 or lambda_t < 0 or alpha + lambda_t == 0:
            raise ValueError(f"alpha and lambda_t must be 0 or more, one of them positive, got {alpha} and {lambda_t}")
        if solver not in ("exact", "sinkhorn"):
            raise ValueError(f"solver must be exact or sinkhorn, got {solver!r}")
        if epsilon <= 0:
            raise ValueError(f"epsilon must be positive (a fraction of the mean cost), got {epsilon}")
        if num_iterations < 1:
            raise ValueError(f"num_iterations must be 1 or more, got {num_iterations}")
        self.alpha, self.lambda_t, self.solver = alpha, lambda_t, solver
        self.epsilon, self.num_iterations = epsilon, num_iterations

    def forward(
        self,
        z_s: Float[Tensor, "n d"],
        p_s: Float[Tensor, "n c"],
        z_t: Float[Tensor, "m d"],
        logits_t: Float[Tensor, "m c"],
    ) -> Float[Tensor, ""]:
        cost = joint_cost(z_s, p_s, z_t, logits_t, self.alpha, self.lambda_t)
        plan = optimal_plan(cost) if self.solver == "exact" else entropic_plan(cost, self.epsilon, self.num_iterations)
        return (plan * cost).sum()
