"""What simple classifiers tell, against naive loops and known answers."""

import pytest
import torch
from conftest import normal

from da.transfer.probes import knn_accuracy, linear_probe, proxy_a_distance


def test_knn_asks_the_nearest_other_rows():
    z, y = normal(40, 3), torch.arange(40) % 3
    right = 0
    for i in range(40):
        far = sorted((float((z[i] - z[j]).square().sum()), j) for j in range(40) if j != i)
        votes = [sum(int(y[j]) == c for _, j in far[:4]) for c in range(3)]
        right += votes.index(max(votes)) == int(y[i])
    assert knn_accuracy(z, y, k=4) == right / 40
    assert knn_accuracy(z + 100 * y[:, None], y) == 1
    with pytest.raises(ValueError, match="k=40 must be at least 1 and less than the 40 rows"):
        knn_accuracy(z, y, k=40)


def test_a_linear_probe_sees_what_a_line_can_cut_and_only_that():
    z = normal(300, 2)
    line, ring = (z[:, 0] > 0.3).long(), (z.norm(dim=1) > 1.18).long()
    assert linear_probe(z, line) > 0.97
    assert linear_probe(z, ring) < 0.65
    assert knn_accuracy(z, ring) > 0.9
    assert linear_probe(z, torch.arange(300) % 2) == pytest.approx(0.5, abs=0.1)
    with pytest.raises(ValueError, match="5 folds need 5 rows of every class or domain; one has 1"):
        linear_probe(z, (torch.arange(300) == 7).long())


def test_a_distance_of_equal_clouds_is_0_within_its_interval_and_of_disjoint_ones_2():
    found = [proxy_a_distance(normal(200, 4, seed=s), normal(120, 4, seed=s + 50)) for s in range(20)]
    assert sum(d.low <= 0 <= d.high for d in found) >= 15  # of 20; rows of one fold are judged by one classifier
    assert abs(sum(d.value for d in found)) / 20 < 0.1
    apart = proxy_a_distance(normal(60, 4), normal(40, 4, seed=1) + 50)
    assert apart == (2, 2, 2)


def test_a_distance_of_two_gaussians_is_what_the_best_line_gives():
    """Means 2 s apart along one axis: the best line errs with probability Phi(-s)."""
    shift = 0.7
    error = float(torch.special.ndtr(torch.tensor(-shift)))
    z_s, z_t = normal(20_000, 2), normal(10_000, 2, seed=1)
    z_s[:, 0] -= shift
    z_t[:, 0] += shift
    found = proxy_a_distance(z_s, z_t)
    assert found.low < 2 * (1 - 2 * error) < found.high
    assert found.high - found.low < 0.06


def test_weights_of_the_source_undo_other_shares():
    """Two classes far apart, 0.8 and 0.2 in one domain, 0.3 and 0.7 in the other."""
    y_s, y_t = (torch.arange(1000) >= 800).long(), (torch.arange(1000) >= 300).long()
    z_s, z_t = normal(1000, 3) + 999 * y_s[:, None], normal(1000, 3, seed=1) + 999 * y_t[:, None]
    plain = proxy_a_distance(z_s, z_t)
    assert plain.value == pytest.approx(1.0, abs=0.05)  # 2 (1 - 0.2 - 0.3)
    assert proxy_a_distance(z_s, z_t, weights=torch.full((1000,), 3.0)) == pytest.approx(plain)
    weights = torch.tensor([0.3 / 0.8, 0.7 / 0.2])[y_s]
    left = proxy_a_distance(z_s, z_t, weights=weights)
    assert left.low < 0 < left.high
    # At 0.1 and 0.9 the line turns round: it is wrong in 0.1 of the source's weight, and in 0.7 of the target.
    turned = proxy_a_distance(z_s, z_t, weights=torch.tensor([0.1 / 0.8, 0.9 / 0.2])[y_s])
    variance = (0.1 * 0.9 * (0.1**2 / 800 + 0.9**2 / 200) + 0.7 * 0.3 / 1000) / 4
    assert turned.value == pytest.approx(2 * (1 - 0.1 - 0.7))
    assert (turned.high - turned.low) / 2 == pytest.approx(4 * 1.959964 * variance**0.5)
