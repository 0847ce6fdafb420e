"""Known answers, and that no validator sees a target label: each is found in conf/validator."""

import math

import pytest
import torch
from conftest import config, encoded, normal, options
from torch.testing import assert_close

from da.build import build
from da.types import HIDDEN, Encoded
from da.validators.entropy import TargetEntropy
from da.validators.infomax import InformationMaximisation
from da.validators.snd import soft_neighbourhood_density
from da.validators.source_acc import SourceAccuracy


def rows_of(logits, y=None):
    n = torch.arange(len(logits))
    return Encoded(logits, logits, n if y is None else y, n, n)


@pytest.fixture(params=options("validator"))
def validator(request):
    return build(config("data=toy", "net=mlp").validators[request.param], request.param)


def test_does_not_read_target_labels(validator):
    scores = []
    for y in (torch.zeros(30, dtype=torch.long), torch.full((30,), HIDDEN)):
        validator.reset()
        validator.update("source", encoded(30, dtype=torch.float32))
        validator.update("target", encoded(30, seed=5, dtype=torch.float32)._replace(y=y))
        scores.append(validator.compute())
    assert_close(scores[0], scores[1], rtol=0, atol=0)


def test_is_the_same_in_one_batch_or_in_several(validator):
    source, target = encoded(30, dtype=torch.float32), encoded(25, seed=5, dtype=torch.float32)
    validator.update("source", source), validator.update("target", target)
    whole = validator.compute()
    validator.reset()
    for part in (slice(0, 7), slice(7, None)):
        validator.update("source", Encoded(*(column[part] for column in source[:5])))
        validator.update("target", Encoded(*(column[part] for column in target[:5])))
    assert_close(validator.compute(), whole)


def test_source_accuracy_counts_correct_rows():
    validator = SourceAccuracy()
    validator.update("source", rows_of(torch.eye(4), torch.tensor([0, 1, 2, 0])))
    validator.update("target", rows_of(torch.eye(4), torch.zeros(4, dtype=torch.long)))
    assert validator.compute() == 0.75


def test_entropy_of_uniform_predictions_is_minus_log_c():
    validator = TargetEntropy()
    validator.update("target", rows_of(torch.zeros(5, 4)))
    assert_close(validator.compute(), torch.tensor(-math.log(4)))


def test_infomax_is_log_c_for_certain_and_even_predictions_and_0_for_a_collapse():
    for logits, expected in ((1e4 * torch.eye(4), math.log(4)), (1e4 * torch.eye(4)[[0, 0, 0]], 0.0)):
        validator = InformationMaximisation()
        validator.update("target", rows_of(logits))
        assert_close(validator.compute(), torch.tensor(expected))


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
