"""Formulas that compare the domains: against naive loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from conftest import normal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from validated import good, nearest_centre, one_class, rows, validated

from da.transfer.probes import domain_log_odds
from da.validators import weighted_risk
from da.validators.base import Seen
from da.validators.domain_distance import ADistance, Mmd
from da.validators.neighbours import NearestSource, nearest_agreement
from da.validators.reverse_validation import ReverseValidation
from da.validators.weighted_risk import Dev, Iwcv, dev_risk


def fitted(x, y, tol=1e-4):
    scaler = StandardScaler().fit(x)
    return scaler, LogisticRegression(max_iter=1000, class_weight="balanced", tol=tol).fit(scaler.transform(x), y)


def naive_weights(seen, folds):
    z = np.concatenate([seen.source.z.double(), seen.target.z.double()])
    domain = np.repeat([0, 1], [len(seen.source.z), len(seen.target.z)])
    weights = np.empty(len(z))
    for rest, held_out in StratifiedKFold(folds, shuffle=True, random_state=0).split(z, domain):
        scaler, classifier = fitted(z[rest], domain[rest], tol=1e-6)
        p = classifier.predict_proba(scaler.transform(z[held_out]))
        weights[held_out] = p[:, 1] / p[:, 0]
    return weights[: len(seen.source.z)]


def naive_losses(source):
    return np.array([-float(source.logits.double()[i].log_softmax(0)[source.y[i]]) for i in range(len(source.y))])


def test_iwcv_and_dev_are_the_papers_sums_over_cross_fitted_weights():
    seen = good(noise=1.5)
    w, losses = naive_weights(seen, 5), naive_losses(seen.source)
    weighted, n = w * losses, len(w)
    assert float(Iwcv().score(seen)) == pytest.approx(-weighted.sum() / n, rel=1e-6)
    covariance = ((weighted - weighted.mean()) * (w - w.mean())).sum() / (n - 1)
    eta = -covariance / (((w - w.mean()) ** 2).sum() / (n - 1))
    risk = weighted.mean() + eta * w.mean() - eta
    assert float(Dev().score(seen)) == pytest.approx(-risk, rel=1e-6)
    assert risk != pytest.approx(weighted.mean(), rel=1e-3)


def test_iwcv_dev_and_the_a_distance_fit_the_classifier_of_the_domains_once(monkeypatch):
    calls = []

    def counted(*given):
        calls.append(given)
        return domain_log_odds(*given)

    monkeypatch.setattr(weighted_risk, "domain_log_odds", counted)
    seen, validators = good(noise=1.5), (Iwcv(), Dev(), ADistance(), Iwcv(folds=3))
    alone = [float(validator.score(seen)) for validator in validators]
    assert len(calls) == 4
    together = seen._replace(memo={})
    assert [float(validator.score(together)) for validator in validators] == alone
    assert len(calls) == 6


def test_the_odds_of_the_domain_are_the_ratio_of_the_densities():
    x_s, x_t = normal(4000, 1), normal(2000, 1, seed=1) + 1
    log_odds = domain_log_odds(x_s, x_t)[: len(x_s)]
    assert (log_odds - (x_s[:, 0] - 0.5)).abs().mean() < 0.1  # log N(x; 1, 1) / N(x; 0, 1), of 6000 rows


def test_the_control_variate_takes_off_what_is_due_to_the_weights():
    weights = normal(50, seed=2).abs()
    assert float(dev_risk(weights, 3 * weights)) == pytest.approx(3)  # the loss is 3 everywhere
    assert float(dev_risk(torch.ones(4), torch.tensor([1.0, 2.0, 3.0, 6.0]))) == 3


def test_the_weighted_risk_of_one_row_is_no_number():
    for validator in (Iwcv(), Dev(), ADistance()):
        assert validator.score(good(n=1)).isnan()


def test_reverse_validation_is_the_source_accuracy_of_a_classifier_of_the_target():
    seen = good(noise=2.0)
    scaler, classifier = fitted(seen.target.z.double().numpy(), seen.predicted.numpy())
    right = classifier.predict(scaler.transform(seen.source.z.double().numpy())) == seen.source.y.numpy()
    assert 0.5 < right.mean() < 1
    assert float(ReverseValidation().score(seen)) == pytest.approx(right.mean())


def test_the_reverse_classifier_of_one_class_is_right_about_that_class():
    z, y = normal(9, 6), torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3])
    assert float(ReverseValidation().score(validated(z, y, z, one_class))) == pytest.approx(1 / 3)


def test_the_reverse_classifier_names_its_classes_where_some_are_not_predicted():
    z, y = 5 * torch.eye(4, 6).repeat(3, 1).double(), torch.arange(12) % 4
    kept = y % 2 == 1
    seen = Seen(rows(z[kept], nearest_centre(z[kept])), rows(z, nearest_centre(z), y))
    assert float(ReverseValidation().score(seen)) == 0.5  # classes 1 and 3 of the source, under their own names


@pytest.mark.parametrize("validator", [ReverseValidation(), NearestSource()])
def test_domains_of_different_classes_have_no_agreement(validator):
    seen = good()
    other = seen.target._replace(logits=torch.cat([seen.target.logits, seen.target.logits], dim=1))
    assert validator.score(seen._replace(target=other)).isnan()


def test_nearest_agreement_is_the_naive_count_also_in_chunks(monkeypatch):
    monkeypatch.setattr("da.validators.neighbours.CHUNK", 7)
    z_s, z_t, y, p = normal(12, 3), normal(20, 3, seed=1), torch.arange(12) % 3, torch.arange(20) % 3
    near = [min(range(12), key=lambda j, i=i: float((z_t[i] - z_s[j]).norm())) for i in range(20)]
    expected = sum(int(y[j]) == int(p[i]) for i, j in enumerate(near)) / 20
    assert float(nearest_agreement(z_t, p, z_s, y)) == pytest.approx(expected)


def test_rows_that_are_equally_near_share_the_agreement():
    z, y = torch.full((4, 3), 0.7).double(), torch.tensor([0, 0, 0, 1])
    assert float(nearest_agreement(z, torch.zeros(4, dtype=torch.long), z, y)) == 0.75


def test_mmd_is_minus_the_double_sum_over_kernels():
    seen = good(n=6, m=5)
    x = torch.cat([seen.source.z, seen.target.z]).double()
    squares = [[float((a - b).square().sum()) for b in x] for a in x]
    b = sum(map(sum, squares)) / (11 * 10)
    value = 0.0
    for i in range(11):
        for j in range(11):
            k = sum(math.exp(-squares[i][j] / (2 * s * b)) for s in (0.25, 0.5, 1, 2, 4)) / 5
            sign = {True: 1 / 36, False: -1 / 30}[(i < 6) == (j < 6)]
            value += k * (1 / 25 if min(i, j) >= 6 else sign)
    assert float(Mmd().score(seen)) == pytest.approx(-value, rel=1e-6)


def test_domains_far_apart_have_the_lowest_a_distance_and_equal_ones_none():
    assert float(ADistance().score(good(shift=20.0))) == -2
    z = normal(200, 6)
    seen = validated(z[:100], torch.arange(100) % 4, z[100:], nearest_centre)
    assert abs(float(ADistance().score(seen))) < 0.6  # two standard errors of 200 rows told apart by chance: 0.57
