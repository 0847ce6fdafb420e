"""What is timed: for each case the ways to compute one number or map, and the work that none of them can avoid.

A contender is a function of the inputs that returns a tensor; the first of a case is ours, and a test compares the
values and gradients of the others with it. A floor does the unavoidable work, and returns nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from da.discrepancies.coral import coral
from da.discrepancies.kernels import SCALES
from da.discrepancies.mmd import mmd2
from da.terms.adversarial import multilinear_map
from da.terms.mcc import class_confusion

Size = tuple[int, ...]


class Case(NamedTuple):
    """One table: `inputs` makes, for a size, the tensors whose gradients are wanted, then those held constant."""

    size_names: str
    sizes: tuple[Size, ...]
    inputs: Callable[[Size], tuple[Tensor, ...]]
    contenders: dict[str, Callable[..., Tensor]]
    floor: Callable[..., None]
    floor_is: str
    needs_bytes: dict[str, Callable[[Size], int]] = {}  # what a contender would take, where that may be too much


def clouds(size: Size) -> tuple[Tensor, Tensor]:
    n, d = size
    source, target = torch.randn(n, d), torch.randn(n, d) + 0.1
    return source.requires_grad_(), target.requires_grad_()


def blocks_of(k: Tensor, n: int) -> Tensor:
    return k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean()


def mean_of_kernels(d2: Tensor) -> Tensor:
    b = d2.detach().sum() / (len(d2) * (len(d2) - 1))
    return torch.stack([torch.exp(d2 / (-2 * s * b)) for s in SCALES]).mean(dim=0)


def mmd_gram(z_s: Tensor, z_t: Tensor) -> Tensor:
    """The same formula, from one Gram matrix, left to autograd."""
    z = torch.cat([z_s, z_t])
    z = z - z.mean(dim=0).detach()
    gram = z @ z.T
    norms = gram.diagonal()
    return blocks_of(mean_of_kernels((norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0)), len(z_s))


def mmd_broadcast(z_s: Tensor, z_t: Tensor) -> Tensor:
    """As the paper writes it: differences of all pairs of rows in one [n + m, n + m, d] tensor."""
    z = torch.cat([z_s, z_t])
    return blocks_of(mean_of_kernels((z[:, None] - z[None, :]).square().sum(dim=2)), len(z_s))


def mmd_floor(z_s: Tensor, z_t: Tensor) -> None:
    z = torch.cat([z_s, z_t])
    weights = z @ z.T
    weights @ z


def mmd_broadcast_bytes(size: Size) -> int:
    # In backward four tensors of that size are there at once.
    return 4 * 4 * (2 * size[0]) ** 2 * size[1]


def coral_covariances(z_s: Tensor, z_t: Tensor) -> Tensor:
    """Two [d, d] covariance matrices."""
    covariances = [(z - z.mean(dim=0)).T @ (z - z.mean(dim=0)) / (len(z) - 1) for z in (z_s, z_t)]
    return (covariances[0] - covariances[1]).square().sum() / (4 * z_s.shape[1] ** 2)


def coral_floor(z_s: Tensor, z_t: Tensor) -> None:
    if 2 * len(z_s) < z_s.shape[1]:
        mmd_floor(z_s, z_t)
        return
    difference = z_s.T @ z_s - z_t.T @ z_t
    for z in (z_s, z_t):
        z @ difference


def predictions_and_features(size: Size) -> tuple[Tensor, Tensor]:
    n, d, c = size
    return torch.randn(n, d).requires_grad_(), torch.randn(n, c).softmax(dim=1)


def map_floor(z: Tensor, p: Tensor) -> None:
    written = z.new_ones(len(z), p.shape[1], z.shape[1])
    written.sum(dim=1)


def target_logits(size: Size) -> tuple[Tensor]:
    return (torch.randn(*size).mul_(3).requires_grad_(),)


def confusion_of_outer_products(logits: Tensor) -> Tensor:
    """As the paper writes it, eq. 2-6: a confusion matrix per row, [n, c, c], then their weighted sum."""
    n, c = logits.shape
    p = (logits / 2.5).softmax(dim=1)
    weights = 1 + torch.exp((p * p.log()).sum(dim=1).detach())
    weights = n * weights / weights.sum()
    confusion = (weights[:, None, None] * p[:, :, None] * p[:, None, :]).sum(dim=0)
    confusion = confusion / confusion.sum(dim=1, keepdim=True)
    return (confusion.sum() - confusion.trace()) / c


def mcc_floor(logits: Tensor) -> None:
    confusion = logits.T @ logits
    logits @ confusion


CASES = {
    "mmd": Case(
        "rows of each domain x width",
        ((32, 256), (64, 2048), (256, 2048), (1024, 512)),
        clouds,
        {"ours": mmd2, "Gram matrix, autograd": mmd_gram, "broadcast": mmd_broadcast},
        mmd_floor,
        "x @ x.T and W @ x; beyond 128 rows ours computes little more than half of the symmetric x @ x.T",
        {"broadcast": mmd_broadcast_bytes},
    ),
    "coral": Case(
        "rows of each domain x width",
        ((32, 256), (64, 2048), (256, 2048), (1024, 512)),
        clouds,
        {"ours": coral, "covariance matrices": coral_covariances},
        coral_floor,
        "x @ x.T and W @ x where there are fewer rows than columns, else the covariances and their products with x",
    ),
    "cdan map": Case(
        "rows x width x classes",
        ((64, 256, 10), (64, 2048, 31), (64, 2048, 65)),
        predictions_and_features,
        {
            "ours": lambda z, p: multilinear_map(p, z),
            "einsum": lambda z, p: torch.einsum("nc,nd->ncd", p, z).flatten(start_dim=1),
            "broadcast": lambda z, p: (p[:, :, None] * z[:, None, :]).flatten(start_dim=1),
        },
        map_floor,
        "the map written once, and summed once over the classes",
    ),
    "mcc": Case(
        "rows x classes",
        ((64, 10), (64, 65), (256, 345)),
        target_logits,
        {"ours": lambda logits: class_confusion(logits, 2.5), "outer products": confusion_of_outer_products},
        mcc_floor,
        "p.T @ p and p @ W",
    ),
}
