"""Formulas that need predictions, or one domain: against naive loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from conftest import normal
from sklearn.metrics import silhouette_score
from torch.testing import assert_close
from validated import rows, validated

from da.types import HIDDEN
from da.validators.base import Seen
from da.validators.bnm import NuclearNorm
from da.validators.clusters import ClassAmi, silhouette
from da.validators.corr_c import ClassCorrelation, softmax_correlation
from da.validators.ensemble import rank_ensemble
from da.validators.few_shot_acc import FewShotAccuracy
from da.validators.mano import MaNo
from da.validators.mixval import MixVal, pairs
from da.validators.neighbours import KnnAgreement
from da.validators.rank_me import effective_rank

SURE = 1e4 * torch.eye(4)  # logits of certain and even predictions


def of(logits, z=None):
    return Seen(rows(logits if z is None else z, logits))


@pytest.mark.parametrize("validator", [NuclearNorm(), ClassCorrelation()])
def test_1_for_certain_and_even_predictions_and_the_lowest_for_a_collapse(validator):
    even, collapse = of(SURE.repeat(3, 1)), of(SURE[[0]].repeat(12, 1))
    assert float(validator.score(even)) == pytest.approx(1)
    assert float(validator.score(collapse)) == pytest.approx(0.5)  # 1 / sqrt(c)


def test_uniform_predictions_have_the_smallest_nuclear_norm():
    for n in (3, 12):
        seen = of(torch.zeros(n, 4))
        assert float(NuclearNorm().score(seen)) == pytest.approx(NuclearNorm().bounds(seen)[0])


def test_the_nuclear_norm_is_the_sum_of_the_roots_of_the_eigenvalues():
    seen = of(normal(9, 4))
    norm = torch.linalg.eigvalsh(seen.p.T @ seen.p).sqrt().sum()
    assert_close(NuclearNorm().score(seen), norm / 6)  # sqrt(9 * 4)


def test_softmax_correlation_is_the_papers_cosine():
    p = normal(7, 3).softmax(1)
    c = [[sum(float(p[i, a] * p[i, b]) for i in range(7)) / 7 for b in range(3)] for a in range(3)]
    identity = np.eye(3)
    expected = (c * identity).sum() / (np.linalg.norm(c) * np.linalg.norm(identity))
    assert float(softmax_correlation(p)) == pytest.approx(expected)


def naive_mano(logits, power, threshold):
    n, c = logits.shape
    phi = -sum(float(logits[i].log_softmax(0)[k]) for i in range(n) for k in range(c)) / (n * c)
    total = 0.0
    for row in logits:
        v = [math.exp(q) if phi > threshold else 1 + q + q * q / 2 for q in row.tolist()]
        total += sum((x / sum(v)) ** power for x in v)
    return phi, (total / (n * c)) ** (1 / power)


@pytest.mark.parametrize(("scale", "exact"), [(1.0, False), (15.0, True)])
def test_mano_takes_the_softmax_of_logits_far_apart_and_its_polynomial_of_others(scale, exact):
    logits = scale * normal(8, 3)
    phi, expected = naive_mano(logits, 4, 5)
    assert (phi > 5) == exact
    assert float(MaNo().score(of(logits))) == pytest.approx(expected)


def test_the_effective_rank_of_orthogonal_directions_is_their_number():
    assert float(effective_rank(torch.eye(5, 8).repeat(3, 1))) == pytest.approx(5)
    assert float(effective_rank(torch.ones(6, 4))) == pytest.approx(1)
    assert float(effective_rank(torch.zeros(6, 4))) == 1


def test_the_effective_rank_is_the_exponential_of_the_entropy_of_the_singular_values():
    z = normal(9, 3)
    s = torch.linalg.eigvalsh(z.T @ z).sqrt()
    q = s / s.sum()
    assert_close(effective_rank(z), torch.exp(-(q * q.log()).sum()))


def naive_silhouette(z, labels):
    total = 0.0
    for i in range(len(z)):
        mean = {}
        for c in labels.unique().tolist():
            to = [float((z[i] - z[j]).norm()) for j in range(len(z)) if j != i and labels[j] == c]
            mean[c] = sum(to) / len(to) if to else None
        a = mean.pop(int(labels[i]))
        if a is not None:
            total += (min(mean.values()) - a) / max(a, min(mean.values()))
    return total / len(z)


def test_the_silhouette_is_the_papers_loop_and_that_of_scikit_learn_also_in_chunks(monkeypatch):
    monkeypatch.setattr("da.validators.clusters.CHUNK", 7)
    labels = torch.tensor([0, 0, 1, 4, 1, 0, 4, 4, 4, 3] * 2)
    labels[-1] = 1
    labels[9] = 2  # alone
    z = normal(20, 3) + labels[:, None]
    assert float(silhouette(z, labels)) == pytest.approx(naive_silhouette(z, labels))
    assert float(silhouette(z, labels)) == pytest.approx(silhouette_score(z.numpy(), labels.numpy()))


def test_the_silhouette_of_one_cluster_is_the_lowest_and_that_of_singletons_is_0():
    assert silhouette(normal(6, 3), torch.full((6,), 2)) == -1
    assert silhouette(normal(6, 3), torch.arange(6)) == 0


def test_class_ami_is_1_for_clusters_whatever_they_are_called_and_about_0_by_chance():
    y = torch.arange(80) % 4
    z = 10 * torch.eye(4)[y] + normal(80, 4, dtype=torch.float32)
    assert float(ClassAmi().score(of(SURE[[2, 0, 3, 1]][y], z))) == pytest.approx(1)
    assert abs(float(ClassAmi().score(of(normal(80, 4, seed=3, dtype=torch.float32), z)))) < 0.1
    assert ClassAmi().score(of(SURE[[0] * 80], z)) == 0
    assert ClassAmi().score(of(SURE[[0] * 80], torch.ones(80, 4))) == 0  # one class and one cluster match


def test_knn_agreement_is_the_naive_count():
    logits, z = normal(15, 3), normal(15, 2, seed=1)
    y, agreed = logits.argmax(1), 0
    for i in range(15):
        near = sorted((j for j in range(15) if j != i), key=lambda j: float((z[i] - z[j]).norm()))[:5]
        votes = [sum(int(y[j]) == c for j in near) for c in range(3)]
        agreed += votes.index(max(votes)) == int(y[i])
    assert float(KnnAgreement().score(of(logits, z))) == pytest.approx(agreed / 15)


def test_few_shot_accuracy_is_that_of_the_rows_whose_labels_are_shown():
    y = torch.tensor([0, HIDDEN, 2, 1, HIDDEN])
    seen = Seen(rows(torch.eye(5), torch.eye(5)[:, :4], y))
    assert float(FewShotAccuracy(1).score(seen)) == pytest.approx(2 / 3)
    assert FewShotAccuracy(1).score(of(torch.eye(4))).isnan()
    with pytest.raises(ValueError, match="labels_per_class=0 must be at least 1"):
        FewShotAccuracy(0)


def test_pairs_are_of_one_cluster_or_of_two_and_no_row_is_twice_the_heavier_one():
    labels = torch.tensor([0, 0, 1, 2, 2, 2, 0, 3])
    (i, j), (k, m) = pairs(labels, 0)
    assert (labels[i] == labels[j]).all()
    assert (i != j).all()
    assert (labels[k] != labels[m]).all()
    assert sorted(labels[i].tolist()) == [0, 0, 2, 2]  # a chain through each cluster of more than one row
    for heavier in (i, k):
        assert len(heavier.unique()) == len(heavier)


def test_mixval_is_the_mean_of_both_shares():
    weight, z = normal(5, 3), normal(30, 5, seed=1)
    seen = validated(z, torch.zeros(30, dtype=torch.long), z, lambda x: x.square() @ weight)
    y, shares = seen.predicted, []
    for kind in pairs(y, 0):
        mixed = [0.55 * z[i] + (1 - 0.55) * z[j] for i, j in zip(*kind, strict=True)]
        right = [(x.square() @ weight).argmax() == y[i] for x, i in zip(mixed, kind[0], strict=True)]
        shares.append(sum(map(int, right)) / len(right))
    assert shares[0] != shares[1]
    assert float(MixVal().score(seen)) == pytest.approx(sum(shares) / 2)


def test_the_rank_ensemble_is_the_mean_of_the_ranks():
    values = {"a": [0.1, 0.3, 0.2, 0.3], "b": [-5.0, None, math.nan, 7.0]}
    # a: 1, 3.5, 2, 3.5; b: 3, 1, 1, 4
    assert rank_ensemble(values) == [2.0, 2.25, 1.5, 3.75]
    assert rank_ensemble({"a": [3.0]}) == [1.0]
    for wrong in ({}, {"a": [1.0], "b": [1.0, 2.0]}):
        with pytest.raises(ValueError, match="every validator must score the same candidates"):
            rank_ensemble(wrong)
