"""Classifiers z -> logits beside the linear one."""

from torch import Tensor, nn


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
