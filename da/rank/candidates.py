"""Candidates: the combinations of options, composed, encoded and scored."""

import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

import torch
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from da.assemble import assemble
from da.build import build
from da.compose import combinations, compose_config, one_line
from da.data.base import DomainData
from da.data.features import FeatureCache
from da.data.rows import Subset
from da.data.streams import few_rows, some_rows
from da.discrepancies.mmd import mmd2
from da.features import features, freeze_and_cache, training_rows
from da.models.network import Network
from da.transfer import scores
from da.transfer.probes import Distance, knn_accuracy, linear_probe, proxy_a_distance, source_probabilities
from da.types import HIDDEN

OF_FEATURES: Mapping[str, Callable[[Tensor, Tensor], float]] = {
    "log_me": scores.log_me,
    "h_score": scores.h_score,
    "regularised_h_score": scores.regularised_h_score,
    "trans_rate": scores.trans_rate,
    "gbc": scores.gbc,
    "knn": knn_accuracy,
    "linear_probe": linear_probe,
}
"""Of labelled target rows' features: they do not see what the source is."""


@dataclass
class Candidate:
    """A source and a network, and what was found of them."""

    label: str  # the options that tell it from the others
    cfg: DictConfig
    net: str
    data: str
    source: str
    target: str
    scores: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # scores that could not be computed, and why
    interval: Distance | None = None  # of the A-distance
    rows: int = 0  # that went through a network, or whose features came from the cache
    seconds: float = 0.0
    notices: tuple[str, ...] = ()


class Evidence(NamedTuple):
    """What the scores of a candidate are computed from."""

    z_s: Tensor  # [n, d]
    y_s: Tensor  # [n]
    z_t: Tensor  # [m, d]
    z: Tensor | None = None  # [k, d], of labelled target rows
    y: Tensor | None = None  # [k]
    pretrained: Tensor | str = ""  # [k, w], the probabilities of the classes of the pretraining, or why there are none


def compose_candidates(words: Sequence[str]) -> list[Candidate]:
    """Return every combination of the choices in `words`, which are options of `da train`, as a candidate to score.

    Backbones are frozen and their features cached where config and data allow it. No file is opened. Raises ValueError
    for options that there are not, and for candidates of several targets.
    """
    with _one_line_errors():
        chosen = combinations(words)
    differ = [i for i in range(len(words)) if len({combination[i] for combination in chosen}) > 1] or range(len(words))
    candidates, targets = [], set()
    for combination in chosen:
        with _one_line_errors():
            cfg = compose_config(combination)
            names = build(cfg.data, "data").names()
        # What the option says, since the name of a folder depends on those beside it.
        targets.add(str(cfg.data.get("target") or names["target"]))
        freeze_and_cache(cfg, combination)
        label = " ".join(combination[i] for i in differ)
        candidates.append(Candidate(label, cfg, cfg.names.net, cfg.names.data, names["source"], names["target"]))
    if len(targets) > 1:
        raise ValueError(f"candidates are ranked for one target, but these have {', '.join(sorted(targets))}")
    return candidates


def score_candidate(found: Candidate, labels: str, most: int) -> None:
    """Encode and score one candidate, and write what comes out into it.

    Args:
        found: the candidate.
        labels: of the target that may be read: "none", "few" (those of the stream `labeled`) or "all".
        most: at most so many rows of a domain.

    Raises FileNotFoundError or ValueError for data and networks that a run refuses, or that lack the labels.
    """
    started, cfg = time.monotonic(), found.cfg
    with _one_line_errors(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        data, net = assemble(cfg)
    source, target = features(data, net, "source", most), features(data, net, "target", most)
    evidence = Evidence(source.backbone.flatten(1), source.y, target.backbone.flatten(1))
    if labels != "none":
        chosen = labelled_rows(data, labels, most)
        shown = features(data, net, "target", labels=True, chosen=chosen)
        pretrained = _pretrained(cfg, net, chosen, labels)
        if cfg.init_from is not None and cfg.init_parts is None:  # the head is the checkpoint's too
            logits = net.logits_of("source", shown.logits)
            pretrained = logits.softmax(dim=1)
        evidence = evidence._replace(z=shown.backbone.flatten(1), y=shown.y, pretrained=pretrained)
    score(evidence, found)
    found.rows = len(evidence.z_s) + len(evidence.z_t) + len(() if evidence.z is None else evidence.z)
    found.rows += len(evidence.pretrained) if isinstance(evidence.pretrained, Tensor) else 0
    found.seconds, found.notices = time.monotonic() - started, tuple(data.notices)


def score(evidence: Evidence, found: Candidate) -> None:
    """Write into `found` the scores that the evidence allows, and why it does not allow the others."""

    def put(name: str, compute: Callable[[], float | Tensor]) -> None:
        try:
            value = float(compute()) + 0.0  # a -0 is printed as one
            if not math.isfinite(value):
                raise ValueError(f"it came out as {value}")
            found.scores[name] = value
        except ValueError as error:
            found.missing[name] = one_line(error)

    def a_distance() -> float:
        found.interval = proxy_a_distance(evidence.z_s, evidence.z_t)
        return found.interval.value

    z_s, y_s, z_t, z, y, pretrained = evidence
    classify = cache(lambda: source_probabilities(z_s, y_s))
    put("a_distance", a_distance)
    put("mmd", lambda: mmd2(z_s.double(), z_t.double()))
    put("source_probe", lambda: linear_probe(z_s, y_s))
    put("confidence", lambda: classify()(z_t).max(dim=1).values.mean())
    if z is None or y is None:
        return
    y = y.unique(return_inverse=True)[1]  # a class may have no row among them
    for name, of_features in OF_FEATURES.items():
        put(name, partial(of_features, z, y))
    put("leep_source", lambda: scores.leep(classify()(z), y))
    put("nce_source", lambda: scores.nce(classify()(z).argmax(dim=1), y))
    if isinstance(pretrained, str):
        found.missing |= dict.fromkeys(("leep_pretrained", "nce_pretrained"), pretrained)
        return
    put("leep_pretrained", lambda: scores.leep(pretrained, y))
    put("nce_pretrained", lambda: scores.nce(pretrained.argmax(dim=1), y))


def labelled_rows(data: DomainData, labels: str, most: int) -> Tensor:
    """Return the numbers of target rows whose labels may be read: few of each class, or at most so many of all.

    The few are the rows of the stream `labeled`. ValueError where they have one class, or no label.
    """
    y = training_rows(data, "target").y
    rows = (y != HIDDEN).nonzero().flatten()
    if labels == "few" and len(rows):
        rows = rows[few_rows(y[rows], data.labels_per_class, data.num_classes_of("target"), data.seed)]
    else:
        rows = rows[some_rows(len(rows), most, "labelled")]
    if len(y[rows].unique()) < 2:
        raise ValueError(
            f"--target-labels {labels}: the {len(rows)} labelled rows of the target {data.names()['target']!r} have "
            "fewer than two classes"
        )
    return rows


@torch.no_grad()
def _pretrained(cfg: DictConfig, net: Network, chosen: Tensor, labels: str) -> Tensor | str:
    """Return what the classifier of the pretraining makes of target rows, as probabilities, or why there is none."""
    backbone = cfg.net.backbone
    if not backbone.get("weights") or "classifier" not in inspect.signature(type(net.backbone).__init__).parameters:
        return f"net={cfg.names.net} has no classifier from a pretraining"
    cfg = cfg.copy()
    OmegaConf.update(cfg, "net.backbone.classifier", True, force_add=True)
    try:
        classifier = build(cfg.net.backbone, "net.backbone").eval()
    except ValueError as error:
        return one_line(error)
    data: DomainData = build(cfg.data, "data")
    cached = bool(cfg.data.get("cache_features")) and labels == "all"  # a few rows are not worth all of them
    if cached:
        data.encode = FeatureCache(classifier)  # type: ignore[attr-defined]  # RecordData: assemble() has checked it
    rows = Subset(training_rows(data, "target"), chosen)
    batches = [samples.x for samples in data.eval_loader(rows, shared=False)]
    return torch.cat([x if cached else classifier(x) for x in batches]).softmax(dim=1)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what Hydra and the checks of options raise into a ValueError, which `run_command` prints."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, TypeError) as error:
        raise ValueError(one_line(error)) from error
