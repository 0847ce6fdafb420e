"""Extra passes that leave no trace in the running statistics."""

import pytest
import torch
from conftest import normal
from torch import nn
from torch.testing import assert_close

from da.models.batch_norm import SharedBatchNorm, keep_running_statistics


@pytest.fixture(params=[nn.BatchNorm1d, SharedBatchNorm])
def net(request):
    return nn.Sequential(nn.Linear(4, 3), request.param(3)).double()


def test_the_output_is_that_of_training_and_the_statistics_stay(net):
    x = 3 + normal(8, 4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with keep_running_statistics(net):
        inside = net(x)
    assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert_close(inside, net(x))
    assert net[1].num_batches_tracked == 1  # after the context they are followed again


def test_in_evaluation_mode_the_running_statistics_are_still_what_normalises(net):
    net(3 + normal(8, 4))
    net.eval()
    x = normal(8, 4, seed=1)
    with keep_running_statistics(net):
        inside = net(x)
    assert_close(inside, net(x))
    assert_close(inside[:1], net(x[:1]))  # a row's output does not depend on the others


def test_the_statistics_are_followed_again_after_an_error(net):
    with pytest.raises(RuntimeError, match="stop"), keep_running_statistics(net):
        raise RuntimeError("stop")
    net(normal(8, 4))
    assert net[1].num_batches_tracked == 1


def test_a_layer_that_follows_no_statistics_goes_on_following_none():
    layer = nn.BatchNorm1d(3, track_running_stats=False)
    with keep_running_statistics(layer):
        pass
    assert not layer.track_running_stats


def test_a_function_has_no_statistics_to_keep():
    with keep_running_statistics(torch.sin):
        pass
