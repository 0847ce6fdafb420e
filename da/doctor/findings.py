"""A diagnosis in words: for each question its numbers, and one sentence that says no more than they do."""

from collections.abc import Sequence
from typing import NamedTuple

from da.doctor.diagnosis import APART, FAR, NEGLIGIBLE, NOVEL, Diagnosis, Estimate
from da.transfer.probes import Distance

SHOWN = 8  # classes in a table


class Finding(NamedTuple):
    """An answer to one question."""

    name: str
    question: str
    numbers: tuple[tuple[str, str], ...]  # what was measured, and the value with its uncertainty
    says: str


def findings(d: Diagnosis, classes: Sequence[str]) -> list[Finding]:
    """Return the answers, for classes of these names."""
    return [_of_features(d), _of_shares(d, classes), _of_classes(d, classes), _of_concept()]


def _of_features(d: Diagnosis) -> Finding:
    if not d.detected:
        says = "No difference was found. A test that finds nothing does not prove that there is nothing."
    elif d.label_shift:
        says = "The domains differ, and other class shares are enough to explain it."
    elif d.distance.low > APART:
        says = "The domains hardly overlap in these features: a covariate shift."
    elif d.distance.low > NEGLIGIBLE:
        says = "The domains overlap, and differ in these features: a covariate shift."
    else:
        says = "The test finds a difference that a linear classifier hardly sees: a covariate shift, slight or bent."
    numbers = (
        ("proxy A-distance", f"{_interval(d.distance)}   0: alike, 2: disjoint"),
        (
            "MMD² test",
            f"{d.mmd.value:.4f} ± {1.96 * d.mmd.error:.4f}, p = {d.mmd.p:.3f}   "
            f"(95 % of random splits: below {d.mmd.dealt:.4f})",
        ),
    )
    return Finding("features", "Do the features differ?", numbers, says)


def _of_shares(d: Diagnosis, classes: Sequence[str]) -> Finding:
    shares = d.shares
    if not d.telling:
        says = "Can't tell: the classifier confuses the classes too much for its predictions to give their shares."
    elif not d.shares_differ:
        says = "No difference was found in the class shares."
    elif d.more_than_shares:
        says = (
            "The shares seem to differ, but explain only a part of the difference: rows of a class do not look alike "
            "in both domains, which the estimate presumes. Don't rely on it."
        )
    elif not d.detected:
        says = "The shares seem to differ, but no test found a difference of the features: likely chance."
    else:
        says = "The class shares differ: a label shift. The target's are estimated below."
    order = sorted(range(len(d.kept)), key=lambda i: -abs(shares.target[i] - shares.source[i]))[:SHOWN]
    table = tuple(
        (
            f"share of {classes[d.kept[i]]}",
            f"{shares.source[i]:.1%} of the source, {shares.target[i]:.1%} [{shares.low[i]:.1%}, {shares.high[i]:.1%}] "
            f"of the target (by EM {shares.em[i]:.1%})",
        )
        for i in order
    )
    numbers = (
        ("distance of the shares", f"{shares.distance:.2f}, p = {shares.p:.3f}   (total variation, 0 to 1)"),
        ("A-distance left", f"{_interval(d.left)}   once the source is weighed to the estimated shares"),
        ("confusion matrix", f"smallest singular value {shares.singular:.2f}   0: blind, 1: knows every class"),
        *table,
    )
    return Finding("shares", "Do the class shares differ?", numbers, says)


def _of_classes(d: Diagnosis, classes: Sequence[str]) -> Finding:
    o = d.overlap
    hints = []
    if d.novel:
        hints.append(f"{o.far.value:.0%} of the target lie outside of all classes: perhaps unknown ones (open set).")
    if o.missing:
        names = ", ".join(classes[d.kept[i]] for i in o.missing)
        hints.append(f"No target row looks like {names}: perhaps the target lacks them (partial).")
    if not d.novel and o.far.low > NOVEL:
        hints.append("Most of the target lies off the source's classes: unknown ones would not stand out.")
    elif not hints:
        hints.append("No hint that the domains have different classes.")
    if o.confidence_target.high < o.confidence_source.low:
        hints.append("The classifier is less sure of the target: expect it to be less often right there.")
    numbers = (
        ("accuracy in the source", f"{_percent(o.accuracy)}   largest class {max(d.shares.source):.1%}"),
        ("confidence, source", _percent(o.confidence_source)),
        ("confidence, target", _percent(o.confidence_target)),
        ("classes used, source", _interval(o.used_source) + f"   effective number, of {len(d.kept)}"),
        ("classes used, target", _interval(o.used_target)),
        (
            "far from every class",
            f"{_percent(o.far)} of the target   of the source, from their own: {1 - FAR:.0%}",
        ),
        ("its nearer half", f"lies at {o.near:.2f} of the source's distances   0.25 to 0.5: like the source"),
    )
    return Finding("classes", "Have both domains the same classes?", numbers, " ".join(hints))


def _of_concept() -> Finding:
    says = (
        "Can't be seen without target labels: whether the same row means another class there. All of the above can be "
        "fine and this not."
    )
    return Finding("concept", "Has the meaning of the classes changed?", (), says)


def _interval(e: Estimate | Distance) -> str:
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"


def _percent(e: Estimate) -> str:
    return f"{e.value:.1%} [{e.low:.1%}, {e.high:.1%}]"
