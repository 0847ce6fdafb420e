"""Two domains whose shift is planted, for the tests of what finds it."""

import numpy as np
import torch

EVEN, OTHER = (0.25, 0.25, 0.25, 0.25), (0.55, 0.25, 0.15, 0.05)


def classes(n, shares=EVEN, seed=0, move=0.0, apart=4.0):
    """Rows of one Gaussian a class, whose means lie on the axes."""
    random = np.random.default_rng(seed)
    y = random.choice(len(shares), n, p=shares)
    x = random.normal(size=(n, 6)) + move
    x[np.arange(n), y] += apart
    return torch.from_numpy(x), torch.from_numpy(y)
