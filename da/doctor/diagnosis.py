"""What kind of shift there is between labelled source rows and unlabelled target rows: all that can be measured."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import binomtest, norm
from torch import Tensor

from da.transfer.label_shift import LabelShift, label_shift
from da.transfer.probes import Distance, proxy_a_distance
from da.transfer.shift import Judged, MmdTest, components, judge, mmd_test

ALPHA = 0.01  # a p-value of at most that counts as found: one false alarm in a hundred, not in twenty
NEGLIGIBLE = 0.2  # A-distance of a classifier that is wrong in 45 % of the rows
SLIGHT, APART = 1.0, 1.5  # of one that is wrong in a fourth, and in an eighth
BLIND = 0.1  # smallest singular value of a confusion matrix that still tells the class shares
FAR = 0.99  # of the source's rows are nearer to their own class
NOVEL = 0.05  # part of the target that has to be further
WIDTH = 64  # principal components
MIN_ROWS = 20  # of each domain


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class Overlap(NamedTuple):
    """What a classifier of the source's classes says of the rows of both domains."""

    accuracy: Estimate  # on source rows that it has not seen
    confidence_source: Estimate  # mean probability of the predicted class
    confidence_target: Estimate
    used_source: Estimate  # effective number of classes, exp(entropy of the mean prediction)
    used_target: Estimate
    far: Estimate  # part of the target rows further from every class than 99 % of the source's are from their own
    near: float  # where the target's lower quartile of these distances lies among the source's, from 0 to 1
    missing: tuple[int, ...]  # classes without a target row, though there should be some if it were like the source


class Diagnosis(NamedTuple):
    """All that was measured; classes are named by their numbers."""

    pretrained: bool  # whether the features are those of a pretrained network
    rows: tuple[int, int]  # looked at, of source and target
    counts: tuple[int, ...]  # rows of each class in the source
    kept: tuple[int, ...]  # classes with enough rows; what is said of classes is of these, in this order
    numbers: int  # features in a row
    components: int  # looked at
    variance: float  # that these hold
    distance: Distance
    mmd: MmdTest
    shares: LabelShift
    left: Distance  # A-distance once the source's classes have the shares estimated for the target
    overlap: Overlap

    @property
    def detected(self) -> bool:
        """Whether the domains differ in their features at all."""
        return self.mmd.p <= ALPHA or self.distance.low > NEGLIGIBLE

    @property
    def telling(self) -> bool:
        """Whether the classifier tells the classes well enough apart to estimate shares."""
        return self.shares.singular >= BLIND

    @property
    def shares_differ(self) -> bool:
        """Whether the estimated shares differ from the source's by more than chance, if they can be told."""
        return self.telling and self.shares.p <= ALPHA

    @property
    def more_than_shares(self) -> bool:
        """Whether the domains still differ once the source's classes have the estimated shares."""
        return self.left.low > NEGLIGIBLE

    @property
    def label_shift(self) -> bool:
        """Whether other class shares are all it takes to explain the difference."""
        return self.detected and self.shares_differ and not self.more_than_shares

    @property
    def covariate_shift(self) -> bool:
        """Whether there is a difference that other class shares do not explain."""
        return self.detected and not self.label_shift

    @property
    def effective(self) -> float:
        """Effective number of classes in the source: as many as there are if all are equally frequent."""
        return effective_classes(np.array(self.counts) / sum(self.counts))

    @property
    def novel(self) -> bool:
        """Whether some target rows are far from every class while most are not."""
        return self.overlap.far.low > NOVEL and self.overlap.near < 0.5


def diagnose(
    z_s: Float[Tensor, "n d"],
    y: Int[Tensor, " n"],
    z_t: Float[Tensor, "m d"],
    num_classes: int,
    pretrained: bool = False,
    permutations: int = 500,
    folds: int = 5,
    seed: int = 0,
) -> Diagnosis:
    """Look at the features of both domains and the labels of the source.

    Args:
        z_s: features of the source.
        y: its class indices; classes with fewer rows than folds are left out where it is about classes.
        z_t: features of the target.
        num_classes: how many classes there are.
        pretrained: what the features are; it is only passed on.
        permutations: of the MMD test, and resamples of the bootstrap of the shares.
        folds: of everything that is judged by a classifier.
        seed: of permutations, resamples and folds.

    Raises ValueError for too few rows, a source of one class, and features that do not vary.
    """
    for name, rows in (("source", z_s), ("target", z_t)):
        if len(rows) < MIN_ROWS:
            raise ValueError(f"the {name} has {len(rows)} rows, but it takes {MIN_ROWS} of each domain to say anything")
    counts = torch.bincount(y, minlength=num_classes)
    kept = (counts >= folds).nonzero().flatten()
    if (counts > 0).sum() < 2:
        raise ValueError("the source has one class only: there is nothing to tell apart")
    if len(kept) < 2:
        raise ValueError(f"{folds} folds need 2 classes with {folds} source rows; the largest have {_largest(counts)}")
    x_s, x_t, variance = components(z_s, z_t, WIDTH, seed)
    chosen = torch.isin(y, kept)
    own, labels = x_s[chosen], torch.searchsorted(kept, y[chosen])
    judged = judge(own, labels, x_t, folds, seed)
    shares = label_shift(judged.p_s, labels.numpy(), judged.p_t, permutations, seed)
    weights = torch.from_numpy(shares.target / shares.source)[labels]
    return Diagnosis(
        pretrained=pretrained,
        rows=(len(z_s), len(z_t)),
        counts=tuple(counts.tolist()),
        kept=tuple(kept.tolist()),
        numbers=z_s.shape[1],
        components=x_s.shape[1],
        variance=variance,
        distance=proxy_a_distance(x_s, x_t, folds, seed),
        mmd=mmd_test(x_s, x_t, permutations, seed),
        shares=shares,
        left=proxy_a_distance(own, x_t, folds, seed, weights),
        overlap=overlap(judged, labels.numpy(), permutations, seed),
    )


def overlap(judged: Judged, y: Int[np.ndarray, " n"], resamples: int = 500, seed: int = 0) -> Overlap:
    """Summarise what the classifiers say; the intervals are those of the rows (exact, normal, and of the bootstrap)."""
    random, (n, c), m = np.random.default_rng(seed), judged.p_s.shape, len(judged.p_t)
    right = judged.p_s.argmax(axis=1) == y
    beyond = judged.far_t > np.quantile(judged.far_s, FAR)
    quartile = np.quantile(judged.far_t, 0.25)
    assigned = [np.bincount(p.argmax(axis=1), minlength=c) for p in (judged.p_s, judged.p_t)]
    # The chance of no row at all, if the target were like the source; below ALPHA for any of the c classes.
    chance = (1 - assigned[0] / n) ** m
    missing = np.flatnonzero((assigned[1] == 0) & (chance < ALPHA / c))
    return Overlap(
        accuracy=_part(right),
        confidence_source=_mean(judged.p_s.max(axis=1)),
        confidence_target=_mean(judged.p_t.max(axis=1)),
        used_source=_used(judged.p_s, resamples, random),
        used_target=_used(judged.p_t, resamples, random),
        far=_part(beyond),
        near=float((judged.far_s < quartile).mean()),
        missing=tuple(missing.tolist()),
    )


def effective_classes(shares: Float[np.ndarray, " c"]) -> float:
    """exp(entropy): c for c equally frequent classes, 1 if there is only one."""
    used = shares[shares > 0]
    return float(np.exp(-(used * np.log(used)).sum()))


def as_numbers(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the diagnosis in json's types."""

    def plain(value: Any) -> Any:
        if hasattr(value, "_asdict"):
            return {name: plain(part) for name, part in value._asdict().items()}
        return value.tolist() if isinstance(value, np.ndarray) else value

    verdicts = ("detected", "covariate_shift", "label_shift", "shares_differ", "more_than_shares", "telling", "novel")
    found: dict[str, Any] = plain(diagnosis)
    return {**found, "effective_classes": diagnosis.effective, **{name: getattr(diagnosis, name) for name in verdicts}}


def _part(hits: Float[np.ndarray, " n"]) -> Estimate:
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95)
    return Estimate(float(hits.mean()), float(interval.low), float(interval.high))


def _mean(values: Float[np.ndarray, " n"]) -> Estimate:
    mean, half = float(values.mean()), float(norm.ppf(0.975) * values.std(ddof=1) / len(values) ** 0.5)
    return Estimate(mean, mean - half, mean + half)


def _used(p: Float[np.ndarray, "n c"], resamples: int, random: np.random.Generator) -> Estimate:
    n = len(p)
    again = [effective_classes(random.multinomial(n, np.full(n, 1 / n)) @ p / n) for _ in range(resamples)]
    low, high = np.quantile(again, [0.025, 0.975])
    return Estimate(effective_classes(p.mean(axis=0)), float(low), float(high))


def _largest(counts: Tensor) -> str:
    return ", ".join(map(str, counts.sort(descending=True).values[:3].tolist()))
