"""Weights that tune themselves: what each drives towards, and that nothing is forgotten."""

import copy
import math

import pytest
import torch
from conftest import make_step, normal
from torch import nn
from torch.testing import assert_close

from da.discrepancies.linear import Linear as MeanDistance
from da.terms.align import Align
from da.terms.base import Objective, Term
from da.terms.entropy import Entropy
from da.terms.gradients import inner_product, shared_gradients
from da.terms.supervised import CrossEntropy
from da.terms.weights import Constraint, GradientBalance, Uncertainty
from da.types import Encoded, Step


class Value(Term):
    """A term whose value is a parameter."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, step: Step) -> torch.Tensor:
        return self.value * 1.0


def joined(seed=0):
    """A step as a network with one forward pass for both domains makes it."""
    step = make_step()
    z = torch.cat([step.source.z, step.target.z]).requires_grad_()
    logits = z @ normal(5, 3, seed=seed)
    n = len(step.source.y)
    streams = {
        name: Encoded(z_, l_, *step.streams[name][2:])
        for name, z_, l_ in zip(
            ("source", "target"), z.split([n, len(z) - n]), logits.split([n, len(z) - n]), strict=True
        )
    }
    return step._replace(streams=streams, whole={"z": (z,)}), z


def test_gradient_balance_makes_the_norms_equal_up_to_the_ratio():
    step, z = joined()
    terms = {"task": CrossEntropy(), "align": Align(MeanDistance())}
    losses = Objective(terms, {"align": GradientBalance(ratio=0.25)})(step)
    (task,) = torch.autograd.grad(losses.parts["task"], z, retain_graph=True)
    (align,) = torch.autograd.grad(losses.parts["align"], z, retain_graph=True)
    assert_close(losses.weights["align"] * align.norm(), 0.25 * task.norm(), rtol=1e-6, atol=0.0)
    (total,) = torch.autograd.grad(losses.total, z)
    assert_close(total, task + losses.weights["align"] * align)  # lambda itself is constant in backward


def test_gradient_balance_averages_over_batches_and_keeps_still_in_evaluation():
    weight = GradientBalance(momentum=0.5)
    objective = Objective({"task": CrossEntropy(), "align": Align(MeanDistance())}, {"align": weight})
    alone = [float(copy.deepcopy(objective)(joined(seed)[0]).weights["align"]) for seed in (0, 1)]
    first, second = (float(objective(joined(seed)[0]).weights["align"]) for seed in (0, 1))
    assert first == pytest.approx(alone[0])
    assert second == pytest.approx(math.sqrt(alone[0] * alone[1]), rel=1e-5)
    objective.eval()
    assert float(objective(joined(2)[0]).weights["align"]) == pytest.approx(second)


def test_gradient_balance_of_a_term_without_gradient_is_zero():
    objective = Objective({"task": CrossEntropy(), "value": Value(3.0)}, {"value": GradientBalance()})
    assert objective(joined()[0]).weights["value"] == 0


def test_gradient_balance_names_a_reference_that_is_not_there():
    objective = Objective({"align": Align(MeanDistance())}, {"align": GradientBalance(reference="task")})
    with pytest.raises(ValueError, match=r"reference=task, but the terms are \['align'\]"):
        objective(joined()[0])


def test_uncertainty_learns_the_inverse_of_the_loss():
    weight = Uncertainty(initial=1.0)
    term = Value(0.2)
    objective = Objective({"value": term}, {"value": weight})
    optimizer = torch.optim.Adam([weight.raw], lr=0.05)
    for _ in range(500):
        optimizer.zero_grad()
        losses = objective(make_step())
        losses.total.backward()
        optimizer.step()
    assert float(losses.weights["value"]) == pytest.approx(1 / 0.2, rel=1e-2)
    assert float(losses.total.detach()) == pytest.approx(1 + math.log(0.2), abs=1e-2)  # the minimum of exp(-s) D + s


def test_uncertainty_begins_at_initial_and_stays_below_largest():
    weight = Uncertainty(initial=3.0, largest=10.0)
    assert float(weight("x", {}, make_step()).detach()) == pytest.approx(3.0, rel=1e-5)
    with torch.no_grad():
        weight.raw.fill_(-1e3)
    assert float(weight("x", {}, make_step()).detach()) == pytest.approx(10.0)


def test_constraint_finds_the_multiplier_of_a_problem_with_a_known_answer():
    """min (x - 2)^2 subject to x^2 <= 1: x = 1, and lambda = (2 - x) / x = 1."""
    x = torch.tensor(2.0, requires_grad=True)
    weight = Constraint(epsilon=1.0, rate=0.05)
    optimizer = torch.optim.SGD([x], lr=0.05)
    for _ in range(2000):
        optimizer.zero_grad()
        ((x - 2).square() + weight("d", {"d": x.square()}, make_step()) * x.square()).backward()
        optimizer.step()
    assert float(x.detach()) == pytest.approx(1.0, abs=1e-3)
    assert float(weight.value) == pytest.approx(1.0, abs=1e-2)


def test_constraint_never_pushes_a_term_that_is_small_enough():
    weight = Constraint(epsilon=1.0, rate=0.5, initial=0.2)
    values = [float(weight("d", {"d": torch.tensor(0.1)}, make_step())) for _ in range(3)]
    assert values == [pytest.approx(0.2), 0.0, 0.0]


@pytest.mark.parametrize("make", [GradientBalance, Uncertainty, lambda: Constraint(0.01)])
def test_a_weight_goes_on_from_its_checkpoint(make):
    torch.manual_seed(0)
    terms = {"task": CrossEntropy(), "align": Align(MeanDistance())}
    objective, again = Objective(terms, {"align": make()}), Objective(copy.deepcopy(terms), {"align": make()})
    for seed in range(3):
        objective(joined(seed)[0])
    again.load_state_dict(objective.state_dict())
    assert_close(again(joined(4)[0]).total, objective(joined(4)[0]).total, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientBalance(ratio=0.0), "ratio=0.0"),
        (lambda: Uncertainty(initial=200.0), "initial=200.0"),
        (lambda: Constraint(0.1, rate=-1.0), "rate=-1.0"),
    ],
)
def test_a_weight_that_cannot_work_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_two_heads_are_compared_on_the_features_that_both_have():
    """A loss of one head has no gradient on the outputs of the other."""
    step, z = joined()
    ours, theirs = (z @ normal(5, 3, seed=seed) for seed in (8, 9))
    step = step._replace(whole={"z": (z,), "head.source": (ours,)})
    losses = {"lwf": ours.square().mean(), "task": theirs.square().mean()}
    for name, gradient in shared_gradients("lwf", losses, step, ("head.source",)).items():
        (expected,) = torch.autograd.grad(losses[name], z, retain_graph=True)
        assert_close(gradient, expected.flatten())


def test_shared_gradients_go_to_the_features_or_else_to_the_parameters():
    step, z = joined()
    entropy = Entropy()(step)
    (expected,) = torch.autograd.grad(entropy, z, retain_graph=True)
    assert_close(shared_gradients("e", {"e": entropy}, step)["e"], expected.flatten())
    again = step.net(step.batch["target"].x)[1].square().mean()  # a term that runs the network once more
    found = shared_gradients("again", {"again": again, "task": CrossEntropy()(step)}, step)
    norm = sum(p.square().sum() for p in torch.autograd.grad(again, step.net.parameters(), retain_graph=True))
    assert_close(inner_product(found["again"], found["again"]), norm)
    assert found["task"].abs().sum() == 0  # this step's features are no function of the network's parameters
