"""Transferability scores: how well features, or a source's predictions, suit labelled rows, without training on them.

All are larger for what suits better, compute in float64, and take labels 0, ..., c - 1 of which every one occurs.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor
from torch.nn.functional import one_hot

Rows = Float[Tensor, "n d"]
Labels = Int[Tensor, " n"]

NO_VARIANCE = 1e-10
"""Of a direction, as a part of the largest: less is rounding. PyTorch's own bound takes rounding for variance."""


def leep(p: Float[Tensor, "n z"], y: Labels) -> float:
    """Log expected empirical prediction, at most 0.

    `p` are the probabilities that a source model gives its own z classes on these rows. Nguyen et al., LEEP, ICML 2020:
    mean_i log sum_z P(y_i | z) p_iz, with P(y | z) the share of y in what the model calls z.
    """
    p, labels = p.double(), _one_hot(y)
    return float(((labels @ _given(labels.T @ p)) * p).sum(dim=1).log().mean())


def nce(z: Labels, y: Labels) -> float:
    """Negative conditional entropy -H(Y | Z) of labels given the classes `z` that a source model calls them, at most 0.

    Tran, Nguyen & Hassner, Transferability and hardness of supervised classification tasks, ICCV 2019.
    """
    joint = _one_hot(y).T @ one_hot(z.long()).double() / len(y)
    return float(torch.special.xlogy(joint, _given(joint)).sum())


def h_score(z: Rows, y: Labels) -> float:
    """tr(cov(z)^-1 cov(E[z | y])), from 0 to c - 1.

    Bao et al., An information-theoretic approach to transferability, ICIP 2019. Directions without
    variance are left out (pseudo-inverse). With fewer rows than features it says little: see the next one.
    """
    return _ratio(*_covariances(z, y))


def regularised_h_score(z: Rows, y: Labels) -> float:
    """The H-score with a covariance shrunk by Ledoit & Wolf's amount, for few rows in many dimensions.

    Ibrahim, Ponomareva & Mazumder, Newer is not always better, ECML PKDD 2022: both covariances shrink.
    """
    total, between = _covariances(z, y)
    amount = float(ledoit_wolf_shrinkage(z.double().numpy()))
    shrunk = (1 - amount) * total + amount * total.trace() / len(total) * torch.eye(len(total), dtype=total.dtype)
    return _ratio(shrunk, (1 - amount) * between)


def log_me(z: Rows, y: Labels, steps: int = 100, tolerance: float = 1e-9) -> float:
    """Log maximum evidence of Bayesian linear regressions to the columns of the one-hot labels, a row and column.

    You et al., LogME, ICML 2021, algorithm 1, its fixed point found from the singular values of `z` (You et
    al., Ranking and tuning pre-trained models, JMLR 2022). No intercept, as there.
    """
    z = z.double()
    n = len(z)
    u, s, _ = torch.linalg.svd(z, full_matrices=False)
    squares = s.square()  # [r]
    targets = _one_hot(y)  # [n, c]
    known = (u.T @ targets).square()  # [r, c], of each label in each direction
    lost = (targets.square().sum(dim=0) - known.sum(dim=0)).clamp(min=0)  # what no direction explains
    # Where features fit labels without an error (n < d), the largest evidence lies at a ratio of 0.
    least = NO_VARIANCE * squares.max()
    ratio = torch.ones(targets.shape[1], dtype=z.dtype)  # alpha / beta, of each label

    def fit(ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return effective parameters, m^T m, and the squared error, of each label."""
        kept = squares[:, None] / (ratio + squares[:, None])
        size = (kept.square() * known / squares[:, None].clamp(min=1e-300)).sum(dim=0)
        return kept.sum(dim=0), size, ((1 - kept).square() * known).sum(dim=0) + lost

    for _ in range(steps):
        before = ratio
        gamma, size, error = fit(before)
        ratio = (gamma * error / (size * (n - gamma)).clamp(min=1e-300)).clamp(min=least)
        if torch.allclose(ratio, before, rtol=tolerance, atol=0):
            break
    _, size, error = fit(ratio)
    alpha = n / (size + error / ratio)  # the best one for this ratio; gamma / size at the fixed point
    log_det = (ratio + squares[:, None]).log().sum(dim=0) - len(s) * ratio.log()  # of I + z z^T / ratio
    evidence = n * (alpha / ratio).log() - n * math.log(2 * math.pi) - n - log_det
    return float((evidence / (2 * n)).mean())


def trans_rate(z: Rows, y: Labels, eps: float = 1e-4) -> float:
    """R(z) - mean over the classes of R(z of the class), R being the coding rate of centred features.

    Huang et al., Frustratingly easy transferability estimation, ICML 2022, as in its listing, with eps their
    squared distortion. Depends on the scale of the features.
    """
    z = z.double() - z.double().mean(dim=0)
    return _coding_rate(z, eps) - sum(_coding_rate(part, eps) for part in _parts(z, y)) / (int(y.max()) + 1)


def gbc(z: Rows, y: Labels, covariance: Literal["diagonal", "spherical"] = "diagonal") -> float:
    """Gaussian Bhattacharyya coefficient: minus the overlap of the classes' Gaussians, from -c (c - 1) to 0.

    Pandy et al., Transferability estimation using Bhattacharyya class separability, CVPR 2022. ValueError
    for a class of one row, which has no variance.
    """
    parts = _parts(z.double(), y)
    if min(map(len, parts)) < 2:
        raise ValueError("gbc needs two rows of every class: one row has no variance")
    means = torch.stack([part.mean(dim=0) for part in parts])
    variances = torch.stack([part.var(dim=0, unbiased=False) for part in parts]).clamp(min=1e-12)
    if covariance == "spherical":
        variances = variances.mean(dim=1, keepdim=True).expand_as(variances)
    middle = (variances[:, None] + variances) / 2  # [c, c, d]
    apart = ((means[:, None] - means).square() / middle).sum(dim=2) / 8
    unlike = (middle.log() - (variances[:, None].log() + variances.log()) / 2).sum(dim=2) / 2
    overlap = torch.exp(-apart - unlike)
    return -float(overlap.sum() - overlap.trace())


def _one_hot(y: Labels) -> Float[Tensor, "n c"]:
    return one_hot(y.long()).double()


def _given(joint: Float[Tensor, "c z"]) -> Float[Tensor, "c z"]:
    """P(y | z) of P(y, z), known up to a factor; 0 for a z that there is not."""
    return joint / joint.sum(dim=0, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)


def _ratio(total: Float[Tensor, "d d"], between: Float[Tensor, "d d"]) -> float:
    """tr(total^-1 between)."""
    return float(torch.trace(torch.linalg.pinv(total, rtol=NO_VARIANCE, hermitian=True) @ between))


def _parts(z: Rows, y: Labels) -> list[Tensor]:
    parts = [z[y == c] for c in range(int(y.max()) + 1)]
    if not all(map(len, parts)):
        raise ValueError("some class between 0 and the largest label has no row")
    return parts


def _covariances(z: Rows, y: Labels) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
    """Covariance of the features, and of their class means put in the place of the rows."""
    z = z.double() - z.double().mean(dim=0)
    labels = _one_hot(y)
    means = labels @ ((labels.T @ z) / labels.sum(dim=0)[:, None].clamp(min=1))
    return z.T @ z / len(z), means.T @ means / len(z)


def _coding_rate(z: Rows, eps: float) -> float:
    """1/2 log det(I + z^T z / (n eps)), by the smaller of the two Gram matrices."""
    gram = z @ z.T if len(z) < z.shape[1] else z.T @ z
    return float(torch.logdet(torch.eye(len(gram), dtype=z.dtype) + gram / (len(z) * eps))) / 2
