"""Batch spectral shrinkage."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from da.distributed import gather
from da.terms.align import inner_layers, layer_of
from da.terms.base import Term
from da.terms.distillation import named_streams
from da.types import Step


def smallest_singular_values(z: Float[Tensor, "n d"], k: int = 1) -> Float[Tensor, ""]:
    """Sum of the k smallest squares of the min(n, d) singular values of z, which is not centred.

    The singular vectors are the eigenvectors of the smaller Gram matrix, n x n or d x d, and held constant in
    backward. The gradient 2 P z, P the projector on them, is exact all the same, since each of them is a stationary
    point of the norm of what it projects; it divides by nothing and is finite where values coincide or are 0. The
    value is the squared norm of the projected features and not an eigenvalue: never negative, and its error is only
    the square of that of the vectors. Second derivatives are not.

    Raises ValueError unless 1 <= k <= min(n, d).
    """
    if not 1 <= k <= min(z.shape):
        raise ValueError(f"k must be from 1 to {min(z.shape)} for features of shape {tuple(z.shape)}, got {k}")
    rows = z if z.shape[0] < z.shape[1] else z.T
    vectors = torch.linalg.eigh(rows.detach() @ rows.detach().T).eigenvectors[:, :k]
    return (vectors.T @ rows).square().sum()


class Bss(Term):
    """`smallest_singular_values` of the features of all processes together, the mean over `streams`.

    BSS, Chen et al. 2019, "Catastrophic Forgetting Meets Negative Transfer": the sum is not divided by n or d, as in
    the paper; the paper's eta is the weight lambda of this term. It is a property of the batch, no mean over rows.
    """

    def __init__(self, k: int = 1, layer: str = "features", streams: Sequence[str] = ("source", "target")) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"k must be 1 or more, got {k}")
        self.k, self.layer = k, layer
        self.layers = inner_layers((layer,))
        self.streams = named_streams(streams)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        clouds = [gather(layer_of(step.streams[name], self.layer)) for name in sorted(self.streams)]
        return torch.stack([smallest_singular_values(z, self.k) for z in clouds]).mean()
