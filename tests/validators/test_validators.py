"""Known answers, and that no validator sees a target label: each is found in conf/validator."""

import math

import pytest
import torch
from conftest import config, normal, options
from torch.testing import assert_close

from da.build import build
from da.types import Encoded
from da.validators.base import Seen, SeenRows
from da.validators.entropy import TargetEntropy
from da.validators.infomax import InformationMaximisation
from da.validators.snd import soft_neighbourhood_density
from da.validators.source_acc import SourceAccuracy, SourceRisk


def of(logits, y=None):
    n = torch.arange(len(logits))
    return Encoded(logits, logits, n if y is None else y, n, n)


def seen(source, target):
    """As a run shows them, in two uneven batches."""
    rows = SeenRows()
    for role, encoded_rows in (("source", source), ("target", target)):
        for part in (slice(0, 7), slice(7, None)):
            rows.update(role, Encoded(*(column[part] for column in encoded_rows[:5])))
    return rows.seen()


@pytest.fixture(params=options("validator"))
def validator(request):
    return build(config("data=toy", "net=mlp", "validators=all").validators[request.param], request.param)


def test_source_accuracy_counts_correct_rows():
    rows = Seen(of(torch.eye(4)), of(torch.eye(4), torch.tensor([0, 1, 2, 0])))
    assert SourceAccuracy().score(rows) == 0.75


def test_source_risk_is_minus_the_mean_negative_log_probability():
    logits, y = normal(6, 3, dtype=torch.float32), torch.tensor([0, 1, 2, 0, 1, 2])
    risk = -sum(math.log(logits[i].softmax(0)[y[i]]) for i in range(6)) / 6
    assert SourceRisk().score(Seen(of(logits), of(logits, y))) == pytest.approx(-risk, rel=1e-5)


def test_entropy_of_uniform_predictions_is_minus_log_c():
    assert_close(TargetEntropy().score(Seen(of(torch.zeros(5, 4)))), torch.tensor(-math.log(4)))


def test_infomax_is_log_c_for_certain_and_even_predictions_and_0_for_a_collapse():
    for logits, expected in ((1e4 * torch.eye(4), math.log(4)), (1e4 * torch.eye(4)[[0, 0, 0]], 0.0)):
        assert_close(InformationMaximisation().score(Seen(of(logits))), torch.tensor(expected))


def naive_snd(p, temperature):
    total = 0.0
    for i in range(len(p)):
        similarities = torch.stack([p[i] @ p[j] / (p[i].norm() * p[j].norm()) for j in range(len(p)) if j != i])
        q = (similarities / temperature).softmax(0)
        total -= float((q * q.log()).sum())
    return torch.tensor(total / len(p), dtype=p.dtype)


def test_snd_equals_the_papers_loop_also_in_chunks(monkeypatch):
    p = normal(20, 4).softmax(1)
    monkeypatch.setattr("da.validators.snd.CHUNK", 7)
    assert_close(soft_neighbourhood_density(p, 0.05), naive_snd(p, 0.05))


def test_snd_of_equal_rows_is_the_log_of_the_number_of_neighbours():
    p = torch.full((9, 4), 0.25)
    assert_close(soft_neighbourhood_density(p, 0.05), torch.tensor(math.log(8)))
