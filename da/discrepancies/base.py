"""What a discrepancy is."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Discrepancy(nn.Module, ABC):
    """A scalar distance between two samples of features, which may differ in size.

    Pure: no labels, no weight, no logging, no communication between processes.
    """

    @abstractmethod
    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]: ...
