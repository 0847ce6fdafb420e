"""What a discrepancy is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Discrepancy(nn.Module, ABC):
    """A scalar distance between two samples of features, which may differ in size.

    Pure: no labels, no weight, no logging, no communication between processes.

    What the formula promises stands here, once, and every test that applies is run on it.
    """

    zero_at_equality: bool = True
    """D(x, x) = 0 to rounding."""
    symmetric: bool = True
    """D(x, y) = D(y, x)."""
    order_invariant: bool = True
    """The rows of a cloud may change places; not so for an estimate from pairs of neighbouring rows."""
    rotation_invariant: bool = True
    """D(xQ, yQ) = D(x, y) for an orthogonal Q."""
    sees_shift: bool = True
    """D grows when one cloud is moved; a distance of covariances does not see it."""
    identifies: bool = True
    """Minimising D alone undoes a shift and a stretch; not so where D is blind or almost flat in one of them."""
    exact_gradient: bool = True
    """The gradient is that of the value; not so where something that depends on the clouds is held constant."""
    min_rows: int = 1
    """Fewest rows a cloud may have."""

    @abstractmethod
    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]: ...


class JointDiscrepancy(nn.Module, ABC):
    """A distance between the joint distributions of several layers, each [n, d_l] and [m, d_l]."""

    @abstractmethod
    def forward(self, layers_s: Sequence[Tensor], layers_t: Sequence[Tensor]) -> Float[Tensor, ""]: ...


class ConditionalDiscrepancy(nn.Module, ABC):
    """A distance between the class-conditional distributions of two clouds.

    `p_s` and `p_t` are the probabilities of the classes, a row each: one-hot where the label is known.
    A class that has no rows on one side adds nothing.
    """

    @abstractmethod
    def forward(
        self,
        z_s: Float[Tensor, "n d"],
        p_s: Float[Tensor, "n c"],
        z_t: Float[Tensor, "m d"],
        p_t: Float[Tensor, "m c"],
    ) -> Float[Tensor, ""]: ...


class Draws(nn.Module):
    """Random numbers that are the same on every process and after a resume: a function of (seed, number of calls).

    In evaluation mode each call gives the same numbers. The count is saved in the checkpoint.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed, self.count = seed, 0

    def generator(self) -> torch.Generator:
        """Return the generator of the next draw, on the CPU: the numbers do not depend on the device."""
        self.count += self.training
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.count)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.count)

    def set_extra_state(self, state: Tensor) -> None:
        self.count = int(state)
