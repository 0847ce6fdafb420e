"""Multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


class Mlp(nn.Sequential):
    """Linear layers with ReLU and dropout between them; none after the last. [n, in_dim] -> [n, dims[-1]]."""

    def __init__(self, in_dim: int, dims: Sequence[int], dropout: float = 0.0) -> None:
        if not dims:
            raise ValueError("an Mlp needs at least one layer, got dims=[]")
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise([in_dim, *dims])):
            if i:
                layers += [nn.ReLU(), nn.Dropout(dropout)] if dropout else [nn.ReLU()]
            layers.append(nn.Linear(a, b))
        super().__init__(*layers)
        self.out_dim = dims[-1]
