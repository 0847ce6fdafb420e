"""A perceptron for tables of numbers and categories."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from da.models.mlp import Mlp

LARGEST = 50


def embedding_width(cardinality: int) -> int:
    """Return the width of the embedding of a category: half of its codes, at most 50, as fast.ai has had it (v0.7)."""
    return min(LARGEST, (cardinality + 1) // 2)


class TabularMlp(nn.Module):
    """Embedded categories beside the numbers, then an `Mlp`: -> [n, dims[-1]].

    Entity embeddings (Guo & Berkhahn, 2016), as wide as `embedding_width`. x is {"numeric": [n, features],
    "categorical": int64 [n, len(cardinalities)]}, or only the numbers where there are no categories. Code 0 stands for
    a value that was never trained on: its embedding is zero, and stays it.

    Args:
        features: how many numbers.
        cardinalities: how many codes each category has, 0 included.
        dims: width of each layer.
        dropout: between the layers.
    """

    def __init__(self, features: int, cardinalities: Sequence[int], dims: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        if any(cardinality < 1 for cardinality in cardinalities):
            raise ValueError(f"cardinalities must be at least 1, got {list(cardinalities)}")
        widths = [embedding_width(cardinality) for cardinality in cardinalities]
        if features + sum(widths) == 0:
            raise ValueError("features=0 and no cardinalities: there is nothing to read")
        self.embeddings = nn.ModuleList(
            nn.Embedding(cardinality, width, padding_idx=0)
            for cardinality, width in zip(cardinalities, widths, strict=True)
        )
        self.mlp = Mlp(features + sum(widths), dims, dropout)
        self.out_dim = dims[-1]

    def forward(self, x: Tensor | Mapping[str, Tensor]) -> Tensor:
        if isinstance(x, Tensor):
            if self.embeddings:
                raise TypeError(f"rows of numbers, but {len(self.embeddings)} categories are expected too")
            return self.mlp(x)
        codes = x["categorical"].unbind(dim=1)
        embedded = [embed(code) for embed, code in zip(self.embeddings, codes, strict=True)]
        return self.mlp(torch.cat([x["numeric"], *embedded], dim=1))
