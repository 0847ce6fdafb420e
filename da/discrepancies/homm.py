"""Higher-order moment matching."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from da.discrepancies.base import Discrepancy, Draws
from da.discrepancies.coral import clip_at_zero


def homm(z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], order: int = 3) -> Float[Tensor, ""]:
    """Squared distance of the moment tensors of one order p over d^p (HoMM, Chen et al. 2020), exact.

    |E z_s^(x p) - E z_t^(x p)|_F^2 / d^p: raw moments of all products of p coordinates, the mean square over the d^p
    entries. No tensor is made: <x^(x p), y^(x p)> = <x, y>^p, so this is the biased MMD^2 with kernel (<x, y> / d)^p.
    Order 1 is the distance of the means over d. An odd order alone is small wherever both clouds are symmetric about 0,
    whatever their scale. The distance grows with the 2p-th power of the features: keep them bounded for high orders.

    With c the mean of all rows and q = |c|^2 the constant q^p, which cancels, is left out of <x, y>^p before rounding.
    What remains of the cancellation cannot push the result below 0; the gradient is not touched by it.
    """
    n, m = len(z_s), len(z_t)
    z = torch.cat([z_s, z_t]) / z_s.shape[1] ** 0.5
    centre = z.mean(dim=0).detach()
    moved = z - centre
    along, q = moved @ centre, centre @ centre
    excess = moved @ moved.T + along[:, None] + along[None, :]  # <x, y> / d - q
    # (q + e)^p - q^p = e * (the sum over k < p of (q + e)^k q^(p - 1 - k))
    total = torch.ones_like(excess)
    for power in range(1, order):
        total = total * (q + excess) + q**power
    signs = torch.cat([z.new_full((n,), 1 / n), z.new_full((m,), -1 / m)])
    return clip_at_zero(signs @ (excess * total) @ signs)


def homm_entries(
    z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"], entries: Int[Tensor, "k p"]
) -> Float[Tensor, ""]:
    """Mean squared difference of chosen entries of the moment tensors (Chen et al. 2020, random sampling matching).

    Row k of `entries` names the p coordinates that are multiplied. All d^p rows give `homm`; rows drawn evenly give an
    unbiased estimate of it.
    """

    def moments(z: Tensor) -> Tensor:
        product = z[:, entries[:, 0]]
        for column in entries.T[1:]:
            product = product * z[:, column]
        return product.mean(dim=0)

    return (moments(z_s) - moments(z_t)).square().mean()


class Homm(Discrepancy):
    """`homm` of one order; with `num_samples`, the paper's estimate by that many entries, drawn anew at every call.

    The exact distance costs d (n + m)^2, whatever the order, and is the better choice unless the batch is huge.
    """

    identifies = False  # a raw third moment is nearly flat where the means are almost equal

    def __init__(self, order: int = 3, num_samples: int | None = None, seed: int = 0) -> None:
        super().__init__()
        if order < 1:
            raise ValueError(f"order must be 1 or more, got {order}")
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"num_samples must be 1 or more, or null for all entries, got {num_samples}")
        self.order, self.num_samples, self.draws = order, num_samples, Draws(seed)
        self.rotation_invariant = num_samples is None

    def forward(self, z_s: Float[Tensor, "n d"], z_t: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
        if self.num_samples is None:
            return homm(z_s, z_t, self.order)
        shape = (self.num_samples, self.order)
        entries = torch.randint(z_s.shape[1], shape, generator=self.draws.generator())
        return homm_entries(z_s, z_t, entries.to(z_s.device))
