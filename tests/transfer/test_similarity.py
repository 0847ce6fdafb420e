"""Distance of domains by batch norm: Gaussians in closed form, and statistics of rows that were seen or moved."""

import pytest
import torch
from conftest import normal
from processes import on_processes
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from da.models.batch_norm import share_batch_norm
from da.transfer.similarity import Moments, domain_distance, jeffreys_by_channel, watch_batch_norm


def test_the_divergence_is_that_of_gaussians_both_ways():
    means, stds = (normal(2, 5, seed=seed) for seed in (0, 1))
    a, b = (Normal(mean, std.abs() + 0.1) for mean, std in zip(means, stds, strict=True))
    expected = (kl_divergence(a, b) + kl_divergence(b, a)).mean()
    assert_close(jeffreys_by_channel(a.mean, a.variance, b.mean, b.variance), expected)
    assert_close(jeffreys_by_channel(b.mean, b.variance, a.mean, a.variance), expected)
    scaled = jeffreys_by_channel(3 * a.mean + 1, 9 * a.variance, 3 * b.mean + 1, 9 * b.variance)
    assert_close(scaled, expected)


def test_moments_of_parts_are_those_of_the_whole():
    x = 5 + normal(10, 3, 4, 2)
    moments = Moments()
    for part in x.split(4):
        moments.add(part)
    mean, variance = moments.statistics()
    flat = x.transpose(0, 1).flatten(1)
    assert_close(mean, flat.mean(dim=1))
    assert_close(variance, flat.var(dim=1))


def trained(x):
    """Two batch norms whose running statistics are those of x."""
    norms = [nn.BatchNorm1d(d, momentum=None) for d in (3, 4)]
    net = nn.Sequential(norms[0], nn.Linear(3, 4), norms[1]).double()
    net[0](x)
    net[0].eval()
    net[2](net[1](net[0](x)))
    return net.eval()


def distance(net, *batches):
    with torch.no_grad(), watch_batch_norm(net) as found:
        for x in batches:
            net(x)
    return domain_distance(net, found)


def test_the_distance_is_zero_for_the_rows_behind_the_statistics_and_grows_with_a_shift():
    torch.manual_seed(0)
    x = normal(20, 3)
    net = trained(x)
    assert distance(net, x) < 1e-12
    assert distance(net, x[:7], x[7:]) < 1e-12
    assert 0 < distance(net, x + 0.5) < distance(net, x + 2)
    assert not any(layer._forward_pre_hooks for layer in net.modules())


def test_the_distance_of_one_layer_in_closed_form():
    net = nn.BatchNorm1d(2, eps=0.0).double().eval()  # mean 0, variance 1
    holder = nn.Sequential(net)
    x = torch.tensor([[3.0, 1.0], [1.0, -1.0]], dtype=torch.float64)  # means 2 and 0, variances 2 and 2
    by_channel = [(1 + 4) / 2 + (2 + 4) / 1 - 2, 1 / 2 + 2 / 1 - 2]
    assert_close(distance(holder, x), torch.tensor(sum(by_channel) / 2 / 2, dtype=torch.float64))


def test_a_channel_that_is_constant_on_one_side_leaves_the_distance_finite():
    torch.manual_seed(0)
    x = normal(20, 3)
    x[:, 1] = 2
    assert distance(trained(x), normal(20, 3, seed=1)).isfinite()


def test_a_network_without_batch_norm_has_no_distance():
    with pytest.raises(ValueError, match="it has no batch norm with running statistics"), watch_batch_norm(nn.ReLU()):
        pass


def on_a_share(rank, world):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    share_batch_norm(net)
    return distance(net.double().eval(), normal(12, 3).chunk(world)[rank])


@pytest.mark.ddp
def test_two_processes_measure_what_one_does():
    alone = on_a_share(0, 1)
    for found in on_processes(2, on_a_share):
        assert_close(found, alone)
