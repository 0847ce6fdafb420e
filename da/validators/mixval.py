"""Mixed target rows as probes."""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from da.validators.base import Seen, Validator

Pairs = tuple[Tensor, Tensor]  # positions i and j, [k] each


def pairs(labels: Int[Tensor, " n"], seed: int) -> tuple[Pairs, Pairs]:
    """Return positions of pairs of rows within a cluster and of pairs across two, drawn by the seed.

    Clusters are rows of one label. Within: each row and the one before it in a random order of its cluster. Across:
    each row and the one before it in a random order of all, where their labels differ.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    together = order[labels[order].argsort(stable=True)]
    within, across = (together, together.roll(1)), (order, order.roll(1))
    same = (labels[within[0]] == labels[within[1]]) & (within[0] != within[1])
    differ = labels[across[0]] != labels[across[1]]
    return (within[0][same], within[1][same]), (across[0][differ], across[1][differ])


class MixVal(Validator):
    """Share of mixed target rows that are predicted to be what the heavier of both rows is, from 0 to 1.

    Hu et al. 2023, MixVal: lambda x_i + (1 - lambda) x_j with lambda = 0.55, for pairs within a predicted class
    (whether clusters are dense) and across two (where the boundaries lie). The paper averages the ranks that both
    shares give a model among others; there is one model here, so it is the mean of the two shares. Each row is in at
    most one pair of each kind as the heavier one; the authors' code pairs the rows of a batch. A kind without pairs
    counts as 0, as the second does where all rows are predicted to be of one class; NaN for a single row.

    It reads the target rows once more and runs the network on up to two mixtures for each. ValueError by `Seen.mix`
    for rows that can't be mixed, such as texts.

    Args:
        lam: lambda, above 0.5.
        seed: of the pairs.
    """

    resists_collapse = True
    mixes = True

    def __init__(self, lam: float = 0.55, seed: int = 0) -> None:
        if not 0.5 < lam < 1.0:
            raise ValueError(f"lam={lam} must lie between 0.5 and 1: the first row of a pair is the heavier one")
        self.lam, self.seed = lam, seed

    def score(self, seen: Seen) -> Tensor:
        assert seen.mix is not None
        labels = seen.predicted.cpu()
        if len(labels) < 2:
            return torch.tensor(math.nan)
        shares = [
            (seen.mix(i, j, self.lam).argmax(dim=1).cpu() == labels[i]).float().mean() if len(i) else torch.tensor(0.0)
            for i, j in pairs(labels, self.seed)
        ]
        return torch.stack(shares).mean()

    def bounds(self, seen: Seen) -> tuple[float, float]:
        return 0.0, 1.0
