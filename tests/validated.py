"""Rows of a validation: blobs that a model tells apart, and what a model shows that calls everything one class."""

import torch
from conftest import normal

from da.types import HIDDEN, Encoded
from da.validators.base import Seen

CLASSES, WIDTH = 4, 6


def rows(z, logits, y=None):
    """Encoded rows, numbered; without labels if none are given."""
    n = torch.arange(len(z))
    return Encoded(z, logits, torch.full_like(n, HIDDEN) if y is None else y, torch.zeros_like(n), n)


def validated(z_s, y_s, z_t, head, y_t=None):
    """What a network shows whose logits are `head` of its features; mixed features stand for mixed rows."""

    def mix(i, j, lam):
        return head(lam * z_t[i] + (1 - lam) * z_t[j])

    return Seen(rows(z_t, head(z_t), y_t), rows(z_s, head(z_s), y_s), mix)


def blobs(n=60, m=80, shift=0.5, noise=0.5, seed=0):
    """Features and labels of both domains: a blob a class, those of the target moved a little."""
    y_s, y_t = torch.arange(n) % CLASSES, torch.arange(m) % CLASSES
    centres = 4 * torch.eye(CLASSES, WIDTH)
    z_s = centres[y_s] + noise * normal(n, WIDTH, seed=seed, dtype=torch.float32)
    z_t = centres[y_t] + shift + noise * normal(m, WIDTH, seed=seed + 1, dtype=torch.float32)
    return z_s, y_s, z_t, y_t


def nearest_centre(z):
    """Logits that are right about the blobs."""
    return 2 * z[:, :CLASSES]


def one_class(z):
    """Logits of a model that is certain that everything is of class 0."""
    return 50 * torch.eye(1, CLASSES).expand(len(z), CLASSES)


def good(y_t=None, **settings):
    z_s, y_s, z_t, _ = blobs(**settings)
    return validated(z_s, y_s, z_t, nearest_centre, y_t)


def collapsed(y_t=None, point=False, **settings):
    """Everything is called one class; the features are those of the good model, or all one point."""
    z_s, y_s, z_t, _ = blobs(**settings)
    if point:
        z_s, z_t = (torch.full_like(z, 0.7) for z in (z_s, z_t))
    return validated(z_s, y_s, z_t, one_class, y_t)


def random_rows(n, m, classes=CLASSES, scale=1.0, seed=0):
    """Features and logits that have nothing to do with each other."""
    draw = [normal(k, w, seed=seed + i, dtype=torch.float32) for i, (k, w) in enumerate(((n, WIDTH), (m, WIDTH)))]
    weight = scale * normal(WIDTH, classes, seed=seed + 2, dtype=torch.float32)
    y = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    return validated(draw[0], y, draw[1], lambda z: z.square() @ weight)
