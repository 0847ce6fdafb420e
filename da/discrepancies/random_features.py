"""Maximum mean discrepancy by random Fourier features."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from da.discrepancies.base import Discrepancy
from da.discrepancies.kernels import SCALES, Bandwidth, scales_and_length, squared_length


@torch.compiler.disable
def standard_frequencies(width: int, num_features: int, seed: int) -> Float[Tensor, "d f"]:
    """Standard normal numbers, a function of the arguments: drawn on the CPU in float64, whatever the features are."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(width, num_features, generator=generator, dtype=torch.float64)


def mmd2_rff(
    z_s: Float[Tensor, "n d"],
    z_t: Float[Tensor, "m d"],
    frequencies: Float[Tensor, "d f"],
    scales: Sequence[float] = SCALES,
    bandwidth: Bandwidth = "mean",
) -> Float[Tensor, ""]:
    """Biased estimate of MMD^2 under the mean of Gaussian kernels, by random Fourier features (Rahimi & Recht 2007).

    exp(-|x - y|^2 / (2 s b)) = E cos(w . (x - y)) with w ~ N(0, 1 / (s b)), and cos(u - v) is a product of cosines
    and sines, so D = |mean phi(z_s) - mean phi(z_t)|^2, phi made of the cosine and the sine of each frequency. The
    columns of `frequencies`, standard normal, take turns among the scales, and each scale has the same weight, as in
    `mmd2`, whose `scales` and `bandwidth` these are. The bandwidth is held constant in backward. O((n + m) d f) time
    and O((n + m) f) memory; the error falls with the root of f. Never negative, D(x, x) = 0. ValueError where f is less
    than the number of scales.
    """
    scales, length = scales_and_length(scales, bandwidth)
    f, kernels = frequencies.shape[1], len(scales)
    if f < kernels:
        raise ValueError(f"num_features must be {kernels}, the number of kernels, or more, got {f}")
    of_column = torch.arange(f, device=z_s.device) % kernels
    weights = z_s.new_tensor([1 / (kernels * len(range(i, f, kernels))) for i in range(kernels)])[of_column]
    z = torch.cat([z_s, z_t])
    z = z - z.mean(dim=0).detach()  # smaller angles, which are more exact; only their differences count
    lengths = z_s.new_tensor(scales)[of_column] * squared_length(z.detach(), length)
    angles = z @ (frequencies * lengths.rsqrt())
    mean_gap = torch.cat([z_s.new_full((len(z_s),), 1 / len(z_s)), z_s.new_full((len(z_t),), -1 / len(z_t))])
    return (((mean_gap @ angles.cos()).square() + (mean_gap @ angles.sin()).square()) * weights).sum()


class MmdRff(Discrepancy):
    """`mmd2_rff` as a module, whose frequencies are a function of `seed` and of the width: the same in every process.

    They are drawn when the first features arrive and stay the same from then on, so nothing is saved. Not invariant to
    rotations: the frequencies do not rotate with the features. A bandwidth is the `mean` or given: the median would
    need the matrix of all distances, which this estimate avoids.
    """

    rotation_invariant = False

    def __init__(
        self,
        num_features: int = 1024,
        scales: Sequence[float] = SCALES,
        bandwidth: Bandwidth = "mean",
        seed: int = 0,
    ) -> None:
        super().__init__()
        kernels = len(scales_and_length(scales, bandwidth)[0])
        if bandwidth == "median":
            raise ValueError("bandwidth must be mean or given, got median, which needs the matrix of all distances")
        if num_features < kernels:
            raise ValueError(f"num_features must be {kernels}, the number of kernels, or more, got {num_features}")
        self.num_features, self.scales, self.bandwidth, self.seed = num_features, tuple(scales), bandwidth, seed
        self._drawn = torch.empty(0)

    def frequencies(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "d f"]:
        """The frequencies for features like `z`."""
        if (len(self._drawn), self._drawn.dtype, self._drawn.device) != (z.shape[1], z.dtype, z.device):
            self._drawn = standard_frequencies(z.shape[1], self.num_features, self.seed).to(z)
        return self._drawn

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        return mmd2_rff(z_s, z_t, self.frequencies(z_s), self.scales, self.bandwidth)
