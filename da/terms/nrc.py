"""NRC: agreement with the neighbours of a target row, and with theirs."""

import torch
from jaxtyping import Float
from torch import Tensor

from da.models.bank import Bank
from da.terms.base import Term
from da.types import Step


class Nrc(Term):
    """Neighbourhood affinity (Yang et al. 2021, "Exploiting the Intrinsic Neighborhood Structure", sec. 3).

    -1/n sum_i p_i . ( sum_{k in N_K(i)} (A_ik S_k + sum_{m in N_M(k)} r S_m) + S_i ): p_i is the prediction of target
    row i, S_k the prediction of row k as it stands in a memory bank, N_K(i) the K rows of the bank nearest to i in
    cosine. The affinity A_ik is 1 where i is among the M nearest of k (a reciprocal neighbour), else r. The second sum
    is over the expanded neighbourhood, in which a row may stand more than once and i itself may be; the last summand is
    the self-regularisation. The paper's whole loss is this plus `Diversity`: da train term=[nrc,diversity].

    Bounded below by -(K + r K M + 1). S, S_i too, is held constant in backward. The batch is entered in the bank of all
    processes before it is read; a row is never its own neighbour. The authors fill the bank from all target rows before
    training; here it starts empty, and while it holds fewer than K other rows there are fewer neighbours. In evaluation
    mode nothing is written.

    Args:
        feature_dim: width of the features.
        num_classes: number of classes.
        neighbours: K; the authors' code takes 4, then 5 on Office-Home.
        expanded: M, of each neighbour; 3, then 4.
        affinity: r of neighbours that are not reciprocal and of the expanded ones.
        capacity: rows of the bank; the paper's holds the whole target data.
    """

    streams = frozenset({"target"})
    same_classes = True

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        neighbours: int = 4,
        expanded: int = 3,
        affinity: float = 0.1,
        capacity: int = 16384,
    ) -> None:
        super().__init__()
        if neighbours < 1 or expanded < 1 or not 0 <= affinity <= 1:
            raise ValueError(
                f"neighbours and expanded must be at least 1 and affinity in [0, 1], got neighbours={neighbours}, "
                f"expanded={expanded}, affinity={affinity}"
            )
        self.neighbours, self.expanded, self.affinity = neighbours, expanded, affinity
        self.bank = Bank(capacity, feature_dim, num_classes)

    def forward(self, step: Step) -> Float[Tensor, ""]:
        rows = step.target
        p = rows.logits.softmax(dim=1)
        self.bank.write(rows.index, rows.z, p)
        wanted = self._wanted(rows.index, rows.z).to(p.dtype) + p.detach()
        return -(p * wanted).sum(dim=1).mean()

    @torch.no_grad()
    def _wanted(self, index: Tensor, z: Tensor) -> Float[Tensor, "n c"]:
        """Return what the neighbours and the expanded neighbours predict, summed by affinity."""
        bank = self.bank
        near = bank.neighbours(index, z, self.neighbours)
        flat = near.slots.flatten()
        further = bank.neighbours(bank.index[flat], bank.features[flat], self.expanded)
        slots, valid = (x.unflatten(0, near.slots.shape) for x in further)  # [n, k, m]
        valid = valid & near.valid.unsqueeze(2)
        reciprocal = ((bank.index[slots] == index[:, None, None]) & valid).any(dim=2)
        affinity = torch.where(reciprocal, 1.0, self.affinity) * near.valid
        direct = (affinity.unsqueeze(2) * bank.predictions[near.slots]).sum(dim=1)
        return direct + self.affinity * (valid.unsqueeze(3) * bank.predictions[slots]).sum(dim=(1, 2))
