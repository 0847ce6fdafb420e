"""The scores of a candidate, by name: which there are, which way they point, and how one is computed.

Imports no PyTorch: `da rank --help` names them at once. What computes them is in `da.rank.candidates`.
"""

from collections.abc import Sequence

LABEL_FREE = ("a_distance", "mmd", "source_probe", "confidence")
"""Need no target labels."""

WITH_LABELS = (
    *("log_me", "h_score", "regularised_h_score", "trans_rate", "gbc", "knn", "linear_probe"),
    *("leep_source", "nce_source", "leep_pretrained", "nce_pretrained"),
)
"""Need some; those of the first line see their features only, and not what the source is."""

SMALLER_IS_BETTER = frozenset({"a_distance", "mmd"})
LABELS = ("none", "few", "all")


def oriented(name: str, value: float) -> float:
    """Return the score so that larger is better."""
    return -value if name in SMALLER_IS_BETTER else value


def default_score(labels: str, sources: Sequence[str]) -> str:
    """Return what to rank by.

    Without target labels the A-distance. With them LogME, but LEEP where the candidates' sources differ, since LogME is
    the same for all of those.
    """
    if labels == "none":
        return "a_distance"
    return "leep_source" if len(set(sources)) > 1 else "log_me"
