"""Classifiers z -> logits beside the linear one."""

import torch
from torch import Tensor, nn

from da.types import Role


class BridgedHead(nn.Module):
    """fc(z) - bridge(z), both linear: [n, in_dim] -> [n, out_dim] (GVB, Cui et al. 2020, CVPR).

    A bridge is to take up what is peculiar to a domain; `da.terms.gvb.Gvb` makes it vanish.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.fc, self.bridge = nn.Linear(in_dim, out_dim), nn.Linear(in_dim, out_dim)

    def forward(self, z: Tensor) -> Tensor:
        logits: Tensor = self.fc(z) - self.bridge(z)
        return logits


class DomainHeads(nn.Module):
    """A linear classifier for the own classes of each domain: multi-task learning on shared features (Caruana 1997).

    [n, in_dim] -> [n, source_classes + target_classes], the source's first.
    """

    def __init__(self, in_dim: int, source_classes: int, target_classes: int) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(in_dim, source_classes), nn.Linear(in_dim, target_classes)

    def forward(self, z: Tensor) -> Tensor:
        return torch.cat([self.source(z), self.target(z)], dim=1)

    def of(self, role: Role) -> nn.Linear:
        """Return the classifier of one domain."""
        return self.source if role == "source" else self.target

    def num_classes_of(self, role: Role) -> int:
        """How many classes a domain has."""
        return self.of(role).out_features

    def own(self, role: Role, logits: Tensor) -> Tensor:
        """Return the columns of the classes of one domain."""
        c = self.source.out_features
        return logits[:, :c] if role == "source" else logits[:, c:]
