"""Co-Tuning: the source's classifier learns on, from what the target's classes look like to it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from da.terms.align import inner_layers, layer_of, source_classifier
from da.terms.base import Term
from da.types import Encoded, Step

STRENGTHS = np.logspace(4, -4, 9)
"""sklearn's C, the inverse of the penalty; the authors try 17 values over the same range."""
FOLDS = 5


def direct_relation(p: Float[Tensor, "n s"], y: Int[Tensor, " n"]) -> Float[Tensor, "t s"]:
    """Return p(y_s | y_t) as the mean of the source's predictions `p` over the rows of each target class."""
    of_class = F.one_hot(y).to(p.dtype)
    return of_class.T @ p / of_class.sum(dim=0).unsqueeze(1)


def reverse_relation(p: Float[Tensor, "n s"], y: Int[Tensor, " n"]) -> Float[Tensor, "t s"]:
    """Return p(y_s | y_t) by Bayes' rule from a logistic regression of `y` on the source's predictions `p`.

    p(y_t | y_s = s) is what the regression, without intercept, gives for a prediction that is sure of s, and p(y_s) the
    mean of `p`. Its penalty is that of `STRENGTHS` with the best likelihood in stratified cross-validation of up to
    5 folds. ValueError for a class with fewer than 2 rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    fewest = int(torch.bincount(y).min())
    if fewest < 2:
        raise ValueError(
            f"relation=reverse is cross-validated and needs 2 labelled rows of every class, but one has {fewest}: "
            "relation=direct, or more data.labels_per_class"
        )
    regression = LogisticRegression(fit_intercept=False, max_iter=1000, tol=1e-8)
    search = GridSearchCV(regression, {"C": STRENGTHS}, scoring="neg_log_loss", cv=min(FOLDS, fewest))
    search.fit(p.numpy(), y.numpy())
    given_source = torch.from_numpy(search.predict_proba(np.eye(p.shape[1])))
    return bayes(given_source, p.mean(dim=0))


def bayes(given_source: Float[Tensor, "s t"], prior: Float[Tensor, " s"]) -> Float[Tensor, "t s"]:
    """Return p(y_s | y_t) from p(y_t | y_s) and p(y_s)."""
    joint = given_source.T * prior
    return joint / joint.sum(dim=1, keepdim=True)


RELATIONS = {"reverse": reverse_relation, "direct": direct_relation}


class CoTuning(Term):
    """Mean over the rows of -sum_s p(y_s = s | y_t = y) log p_s(x), p_s(x) by the source's classifier.

    Co-Tuning, You, Kou, Long & Wang 2020, NeurIPS: the classifier of the source learns on from the labelled rows of
    the target, whose classes it has never seen. Its labels are the relation of the classes, which is learned once
    before training, on all rows of the stream and from the predictions of the network as it starts:
    `reverse_relation` is the paper's main way and `direct_relation` its simple one. The authors choose the penalty by
    the accuracy on held-out rows and then calibrate on these; here the likelihood in cross-validation does both.
    The rows are seen in one draw of the training's augmentation, where the authors leave it out.

    The source's classifier is `head.source` where each domain has its own head, else the one head there is: the term
    is then a label smoothing by the relation. The relation is saved in the checkpoint, and a resumed run does not
    learn it again.

    Args:
        relation: "reverse" or "direct".
        temperature: by which the source's logits are divided when the relation is learned: what calibrates them.
        stream: "labeled" or "oracle".

    Raises ValueError for other values, and for a class without labelled rows.
    """

    relation: Tensor | None

    def __init__(self, relation: str = "reverse", temperature: float = 1.0, stream: str = "labeled") -> None:
        super().__init__()
        if relation not in RELATIONS:
            raise ValueError(f"relation={relation}: expected one of {', '.join(RELATIONS)}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if stream not in ("labeled", "oracle"):
            raise ValueError(f"stream={stream} shows no labels of the target: expected labeled or oracle")
        self.way, self.temperature, self.stream = relation, temperature, stream
        self.streams, self.fits_on = frozenset({stream}), (stream,)
        self.layer = "logits"
        self.register_buffer("relation", None)

    def prepare(self, net: Any) -> None:
        self.layer = source_classifier(net)
        self.layers = inner_layers((self.layer,))
        shape = net.num_classes_of("target"), net.num_classes_of("source")
        self.register_buffer("relation", torch.full(shape, torch.nan))  # nan: not learned yet

    def fit(self, rows: Mapping[str, Encoded]) -> None:
        assert self.relation is not None, "prepare(net) comes first"
        labelled = rows[self.stream]
        y, classes = labelled.y.cpu(), len(self.relation)
        if missing := sorted(set(range(classes)) - set(y.tolist())):
            raise ValueError(f"CoTuning needs labelled rows of every class, but {self.stream} has none of {missing}")
        p = (layer_of(labelled, self.layer).cpu().double() / self.temperature).softmax(dim=1)
        self.relation.copy_(RELATIONS[self.way](p, y))

    def forward(self, step: Step) -> Float[Tensor, ""]:
        if self.relation is None or self.relation.isnan().any():
            raise ValueError("CoTuning has no relation of the classes before prepare(net) and fit(rows) were called")
        rows = step.streams[self.stream]
        logits = layer_of(rows, self.layer)
        return F.cross_entropy(logits, self.relation[rows.y].to(logits.dtype))
