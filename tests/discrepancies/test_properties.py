"""What every discrepancy must satisfy: each is found in conf/discrepancy, and held to what its class promises."""

import inspect
import pickle

import pytest
import torch
from conftest import config, normal, options
from hydra.utils import get_class
from processes import on_processes
from torch.testing import assert_close

from da.build import build

DISCREPANCIES = options("discrepancy")


def make(name, all_fixed=False):
    node = config("method=align", f"discrepancy={name}").discrepancy
    # What is taken from the data and held constant in backward is fixed: finite differences would move it.
    for option, value in {"bandwidth": 2.0, "scale": 20.0}.items():
        if all_fixed and option in inspect.signature(get_class(node._target_)).parameters:
            node[option] = value
    return build(node, "discrepancy").eval()  # in evaluation mode random draws are the same at every call


@pytest.fixture(params=DISCREPANCIES)
def discrepancy(request):
    return make(request.param)


def test_zero_between_a_cloud_and_itself(discrepancy, clouds):
    x, _ = clouds
    if discrepancy.zero_at_equality:
        assert_close(discrepancy(x, x), x.new_zeros(()), atol=1e-7, rtol=0)
        assert discrepancy(x, 2 * x + 1) > 1e-4
    else:
        assert "D(x, x)" in inspect.getdoc(type(discrepancy)), "what it is instead must be documented"


def test_symmetric_for_unequal_sizes(discrepancy, clouds):
    x, y = clouds
    assert len(x) != len(y)
    if discrepancy.symmetric:
        assert_close(discrepancy(x, y), discrepancy(y, x))
    else:
        assert not torch.isclose(discrepancy(x, 2 * y + 1), discrepancy(2 * y + 1, x), rtol=1e-6)


def test_ignores_the_order_of_the_rows(discrepancy, clouds):
    x, y = clouds
    if discrepancy.order_invariant:
        assert_close(discrepancy(x.flip(0), y), discrepancy(x, y))
    else:
        assert discrepancy(x.flip(0), y) != discrepancy(x, y)


def test_unmoved_by_a_rotation_of_both_clouds(discrepancy, clouds):
    q, _ = torch.linalg.qr(normal(5, 5, seed=3))
    x, y = clouds
    if discrepancy.rotation_invariant:
        assert_close(discrepancy(x @ q, y @ q), discrepancy(x, y))
    else:
        assert not torch.isclose(discrepancy(x @ q, y @ q), discrepancy(x, y), rtol=1e-6)


def test_grows_with_a_known_shift(discrepancy, clouds):
    x, _ = clouds
    y = normal(30, 5, seed=7)
    values = [float(discrepancy(x, y + shift)) for shift in (0.0, 0.5, 1.0, 1.5)]
    if discrepancy.sees_shift:
        assert abs(values[3] - values[0]) > 1e-3
        assert values == sorted(values) or not discrepancy.identifies
    else:
        assert_close(torch.tensor(values), torch.tensor(values[:1]).expand(4), rtol=1e-6, atol=1e-9)


def test_grows_when_a_cloud_is_stretched(discrepancy, clouds):
    x, _ = clouds
    assert discrepancy(x, 3 * x + 2) > discrepancy(x, 1.1 * x + 0.1)


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_gradient_matches_finite_differences(name, clouds):
    discrepancy = make(name, all_fixed=True)
    x, y = clouds[0][:8].requires_grad_(), (1.5 * clouds[1][:6] + 0.5).requires_grad_()
    if discrepancy.exact_gradient:
        assert torch.autograd.gradcheck(discrepancy, (x, y))
    else:
        assert "constant in backward" in inspect.getdoc(type(discrepancy))


def test_gradient_reaches_both_clouds(discrepancy, clouds):
    x, y = (cloud.requires_grad_() for cloud in clouds)
    discrepancy(x, 2 * y + 1).backward()
    assert x.grad.norm() > 0
    assert y.grad.norm() > 0


def test_minimising_it_alone_brings_the_clouds_together(discrepancy):
    """The target is the source, stretched by 2 and moved by 1.5: the answer is to undo both."""
    x, y = normal(64, 3), 2 * normal(48, 3, seed=1) + 1.5
    log_scale, move = torch.zeros((), dtype=x.dtype).requires_grad_(), torch.zeros(3, dtype=x.dtype).requires_grad_()
    optimizer = torch.optim.Adam([log_scale, move], lr=0.05)
    for _ in range(250):
        optimizer.zero_grad()
        discrepancy(x, log_scale.exp() * (y + move)).backward()
        optimizer.step()
    with torch.no_grad():
        moved = log_scale.exp() * (y + move)
        if not discrepancy.identifies:
            assert discrepancy(x, moved) < 0.5 * discrepancy(x, y)
            return
        assert abs(moved.std() - x.std()) < 0.3 * (y.std() - x.std())
        if discrepancy.sees_shift:
            assert (moved.mean(0) - x.mean(0)).norm() < 0.2 * (y.mean(0) - x.mean(0)).norm()


def test_constant_features_give_a_number_and_a_gradient(discrepancy):
    x, y = torch.ones(4, 3).requires_grad_(), torch.ones(5, 3).requires_grad_()
    value = discrepancy(x, y)
    value.backward()
    if discrepancy.zero_at_equality:
        assert_close(value, torch.zeros(()), atol=1e-3, rtol=0)
    assert x.grad.isfinite().all()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("sizes", [(2, 2), (2, 5), (3, 2)])
def test_few_rows_give_a_number_and_a_gradient(discrepancy, sizes):
    x, y = (normal(n, 4, seed=n + i, dtype=torch.float32).requires_grad_() for i, n in enumerate(sizes))
    if min(sizes) < discrepancy.min_rows:
        with pytest.raises(ValueError, match="rows"):
            discrepancy(x, y)
        return
    value = discrepancy(x, y)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e5])
def test_stays_finite_at_tiny_and_huge_scales(discrepancy, clouds, scale):
    x, y = ((scale * cloud).float().requires_grad_() for cloud in clouds)
    value = discrepancy(x, y)
    value.backward()
    assert value.isfinite()
    assert x.grad.isfinite().all()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_float32_agrees_with_float64(discrepancy, clouds, offset):
    x, y = clouds[0] + offset, 1.5 * clouds[1] + 0.5 + offset
    x, y = x.float().double(), y.float().double()  # so that the input is the same to the last bit
    assert_close(discrepancy(x.float(), y.float()).double(), discrepancy(x, y), rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_survives_pickling_and_state_dict(name, clouds):
    discrepancy = make(name)
    value = discrepancy(*clouds)
    again = make(name)
    again.load_state_dict(discrepancy.state_dict())
    assert_close(again(*clouds), value, rtol=0, atol=0)
    assert_close(pickle.loads(pickle.dumps(discrepancy))(*clouds), value, rtol=0, atol=0)


def test_rejects_features_of_different_width(discrepancy, clouds):
    x, y = clouds
    with pytest.raises(Exception, match="d"):
        discrepancy(x, y[:, :3])


def compiled(rank, world):
    """Gradients as they are, and compiled: `aot_eager` traces both passes as the default backend does, without C++."""
    found = {}
    for name in DISCREPANCIES:
        discrepancy, gradients = make(name), []
        for function in (discrepancy, torch.compile(discrepancy, backend="aot_eager")):
            x, y = normal(12, 4).requires_grad_(), (2 * normal(9, 4, seed=1) + 1).requires_grad_()
            function(x, y).backward()
            gradients.append((x.grad, y.grad))
        found[name] = gradients
    return found


@pytest.fixture(scope="module")
def gradients():
    return on_processes(1, compiled, fresh=True)[0]  # where nothing is wrapped by the check of the shapes


@pytest.mark.parametrize("name", DISCREPANCIES)
def test_can_be_compiled(gradients, name):
    eager, traced = gradients[name]
    assert_close(traced, eager)
