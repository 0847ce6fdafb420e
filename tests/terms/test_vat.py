"""Virtual adversarial training against closed forms and the exact Hessian."""

import pytest
import torch
from conftest import make_step, normal
from torch import nn
from torch.testing import assert_close

from da.discrepancies.base import Draws
from da.terms.vat import Vat, mean_kl, unit_rows


class Recording(nn.Module):
    """x -> (x, logits), and all the x it was given."""

    def __init__(self, body):
        super().__init__()
        self.body, self.seen = body.double(), []

    def forward(self, x):
        self.seen.append(x.detach())
        return x, self.body(x)


def step_of(net, x, stream="target"):
    step = make_step()
    return step._replace(net=net, batch={stream: step.batch[stream]._replace(x=x)})


def linear(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
    layer.weight.data.copy_(weight)
    return layer


def first_draw(shape, seed=0):
    return unit_rows(torch.randn(shape, generator=Draws(seed).generator()).double())


def test_of_two_classes_and_a_linear_network_it_is_the_kl_of_a_step_along_the_weight():
    # logits (w.x, 0): the Hessian of the KL is p (1 - p) w w^T, so r = +-radius w / |w|, on the side of the random d
    w, x, radius = torch.tensor([3.0, -4.0, 0.0]).double(), normal(6, 3), 0.7
    side = torch.sign(first_draw((6, 3)) @ w)
    p, q = torch.sigmoid(x @ w), torch.sigmoid(x @ w + side * radius * 5)
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    net = Recording(linear(torch.stack([w, 0 * w])))
    assert_close(Vat(radius)(step_of(net, x)), expected)


@pytest.mark.parametrize("shape", [(5, 3), (5, 1, 4, 4)])
def test_the_perturbation_of_each_row_has_the_radius(shape):
    x = normal(*shape)
    net = Recording(nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 4)))
    Vat(radius=2.5)(step_of(net, x))
    clean, probe, perturbed = net.seen
    assert_close(clean, x)
    assert_close((probe - x).flatten(1).norm(dim=1), torch.full((5,), 1e-2).double())
    assert_close((perturbed - x).flatten(1).norm(dim=1), torch.full((5,), 2.5).double())


def test_many_iterations_find_the_largest_eigenvector_of_the_exact_hessian():
    torch.manual_seed(0)
    net = Recording(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)))
    x = normal(4, 3)
    Vat(radius=1.0, xi=1e-6, power_iterations=200)(step_of(net, x))
    found = net.seen[-1] - x
    for row, r in zip(x, found, strict=True):
        log_p = net.body(row[None]).log_softmax(1).detach()

        def divergence(d, row=row, log_p=log_p):
            return mean_kl(log_p, net.body((row + d)[None]))

        hessian = torch.autograd.functional.hessian(divergence, torch.zeros(3).double())
        leading = torch.linalg.eigh(hessian).eigenvectors[:, -1]
        assert_close((leading @ r).abs(), torch.ones(()).double(), atol=1e-6, rtol=0)  # the finite difference's xi


def test_the_default_step_of_the_finite_difference_survives_single_precision():
    torch.manual_seed(0)
    body, x = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.Tanh(), nn.Linear(32, 10)), normal(8, 1, 28, 28)
    double, single = Recording(body), None
    Vat()(step_of(double, x))
    single = Recording(body)
    single.body.float()
    Vat()(step_of(single, x.float()))
    a, b = unit_rows(double.seen[-1] - x), unit_rows(single.seen[-1].double() - x.float().double())
    assert ((a * b).flatten(1).sum(dim=1) > 0.999).all()


def test_zero_where_no_perturbation_changes_anything():
    net = Recording(linear(torch.zeros(3, 4)))
    assert Vat()(step_of(net, normal(6, 4))) == 0
    assert (net.seen[-1] - normal(6, 4)).norm(dim=1).min() > 0.99  # the random direction stays


def test_the_gradient_comes_through_the_perturbed_prediction_alone():
    torch.manual_seed(0)
    net, x = Recording(nn.Linear(3, 4)), normal(6, 3)
    Vat(radius=0.5)(step_of(net, x)).backward()
    by_term = net.body.weight.grad.clone()
    net.body.weight.grad = None
    log_p = net.body(x).log_softmax(1).detach()
    mean_kl(log_p, net.body(net.seen[-1])).backward()
    assert_close(by_term, net.body.weight.grad)


def test_several_streams_are_summed():
    step = make_step()
    both = Vat(streams=("source", "target"))
    expected = [Vat(streams=("source",))(step)]
    target = Vat(streams=("target",))
    target.draws.count = 1  # the source took the first draw
    assert_close(both(step), expected[0] + target(step))


def test_batch_statistics_are_used_and_running_ones_are_left_alone():
    torch.manual_seed(0)
    net, x = Recording(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))), 5 + normal(6, 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    term = Vat()
    value = term(step_of(net, x))
    assert_close(net.state_dict(), before, rtol=0, atol=0)
    net.eval()
    term.draws.count = 0
    assert not torch.isclose(term(step_of(net, x)), value)


def test_the_draws_differ_from_step_to_step_and_repeat_after_a_resume():
    step, term = make_step(), Vat()
    first, second = term(step), term(step)
    assert first != second
    again = Vat()
    again.load_state_dict(term.state_dict())
    assert again(step) == term(step)


@pytest.mark.parametrize("x", [torch.arange(6).view(3, 2), {"tokens": torch.zeros(3, 2)}])
def test_inputs_without_a_gradient_are_refused(x):
    with pytest.raises(ValueError, match="Vat changes the input of 'target'.* got a (tensor of torch.int64|dict)"):
        Vat()(step_of(Recording(nn.Linear(2, 2)), x))


@pytest.mark.parametrize("options", [{"radius": 0.0}, {"xi": -1.0}, {"power_iterations": 0}, {"streams": ()}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="must be positive|must name one"):
        Vat(**options)
