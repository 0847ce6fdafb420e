"""Discriminators behind a reversal: naive formulas, what reaches whom, and the faults that this field plants."""

import math
from functools import partial

import pytest
import torch
from conftest import Net, make_step, normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.discrepancies.jmmd import Jmmd
from da.schedules import Constant
from da.terms.adversarial import (
    Adversarial,
    ConditionalAdversarial,
    domain_accuracy,
    multilinear_map,
    random_multilinear_map,
)
from da.terms.adversarial_jmmd import AdversarialJmmd
from da.terms.align import layer_of
from da.terms.base import Objective
from da.terms.mdd import Mdd
from da.terms.multi_domain import MultiDomainAdversarial
from da.terms.multi_layer import MultiLayerAdversarial
from da.types import Encoded

DOMAINS = (("source", 1.0), ("target", 0.0))


def two_domains(**sizes):
    """A step whose source rows are of domain 1 and whose target rows are of domain 0."""
    step = make_step(**sizes)
    streams = {k: step.streams[k]._replace(domain=torch.full_like(step.streams[k].index, int(d))) for k, d in DOMAINS}
    return step._replace(streams=streams)


def seeded(make, *arguments, **options):
    torch.manual_seed(0)
    return make(*arguments, **options).double()


TERMS = {
    "dann": partial(Adversarial, 5, (8,), 0.0),
    "dann_e": partial(Adversarial, 5, (8,), 0.0, entropy_conditioning=True),
    "cdan": partial(ConditionalAdversarial, 5, 3, (8,), 0.0),
    "cdan_random": partial(ConditionalAdversarial, 5, 3, (8,), 0.0, random_dim=7),
    "multi_domain": partial(MultiDomainAdversarial, 5, 2, (8,), 0.0),
    "multi_layer": partial(MultiLayerAdversarial, 5, 3, hidden_dims=(8,), dropout=0.0),
    "mdd": partial(Mdd, 5, 3, 4.0, (8,), 0.0),
}


def gradients(make, weight, strength):
    """Gradients of weight * term with this reversal strength: of the source and target features, of the parameters."""
    term, step = seeded(make, reversal=Constant(strength)), two_domains()
    leaves = [step.source.z.requires_grad_(), step.target.z.requires_grad_(), *term.parameters()]
    total = Objective({"term": term}, {"term": Constant(weight)})(step).total
    found = torch.autograd.grad(total, leaves)
    return found[:2], found[2:]


def check_routes(make):
    """Lambda multiplies all, the reversal multiplies the features' gradient by minus its strength, once."""
    z_plain, d_plain = gradients(make, 1.0, -1.0)  # reversed twice: the plain gradient
    z, d = gradients(make, 0.1, 0.5)
    assert all(g.abs().max() > 1e-6 for g in (*z_plain, *d_plain))
    assert_close(z, tuple(-0.1 * 0.5 * g for g in z_plain))
    assert_close(d, tuple(0.1 * g for g in d_plain))


@pytest.mark.parametrize("name", TERMS)
def test_features_get_minus_lambda_times_strength_and_the_discriminator_lambda(name):
    check_routes(TERMS[name])


class AlphaSquared(Adversarial):
    def forward(self, step):
        return self.reversal(step.progress) * super().forward(step)


class SoftmaxOverOne(Adversarial):
    def forward(self, step):
        parts = [self.discriminator(step.streams[name].z).softmax(dim=1).log() for name, _ in DOMAINS]
        return -torch.cat(parts).mean()


class UnderNoGrad(Adversarial):
    def forward(self, step):
        with torch.no_grad():
            return super().forward(step)


class DetachedFeatures(Adversarial):
    def discriminator_input(self, rows):
        return rows.z.detach()


@pytest.mark.parametrize("fault", [AlphaSquared, SoftmaxOverOne, UnderNoGrad, DetachedFeatures])
def test_the_check_of_the_routes_rejects_the_fault(fault):
    with pytest.raises((AssertionError, RuntimeError)):
        check_routes(partial(fault, 5, (8,), 0.0))


def trained(make, weight):
    """The backbone after one step of SGD on L_S + weight * term."""
    net, step = Net(), two_domains()
    term = seeded(make)
    net.watch(term.layers)
    streams = {}
    for name, rows in step.streams.items():
        z, logits = net(step.batch[name].x)
        streams[name] = Encoded(z, logits, rows.y, rows.domain, rows.index, dict(net.watched))
    term.prepare(net)
    F.cross_entropy(streams["source"].logits, streams["source"].y).backward(retain_graph=True)
    (weight * term(step._replace(streams=streams, net=net))).backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    return torch.cat([p.detach().flatten() for p in net.backbone.parameters()])


JAN = partial(AdversarialJmmd, 5, 3, Jmmd())
INNER = partial(MultiLayerAdversarial, 5, 3, ("backbone",), {"backbone": 5}, (8,), 0.0)


@pytest.mark.parametrize("name", [*TERMS, "adversarial_jmmd", "inner layer"])
def test_lambda_0_and_1_train_different_features(name):
    make = {**TERMS, "adversarial_jmmd": JAN, "inner layer": INNER}[name]
    assert torch.equal(trained(make, 1.0), trained(make, 1.0))
    assert (trained(make, 1.0) - trained(make, 0.0)).abs().max() > 1e-4


def test_accuracy_is_a_half_for_a_discriminator_that_always_says_source_whatever_n_and_m():
    always = domain_accuracy(torch.ones(12), torch.ones(3))
    assert_close(always, torch.tensor(0.5))
    assert_close(domain_accuracy(torch.zeros(4), torch.zeros(9)), torch.tensor(0.5))


def test_accuracy_counts_what_each_domain_has_right():
    assert_close(domain_accuracy(torch.tensor([1.0, -1.0, 2.0, 3.0]), torch.tensor([-1.0])), torch.tensor(0.875))


@pytest.mark.parametrize("name", sorted(TERMS.keys() - {"mdd"}))
def test_the_objective_passes_the_accuracy_on_without_a_gradient(name):
    objective = Objective({"it": seeded(TERMS[name])})
    accuracy = objective(two_domains()).measures["it/accuracy"]
    assert not accuracy.requires_grad
    assert 0 <= accuracy <= 1


def naive_domain_loss(discriminator, step, seen, weight):
    """(L_s + L_t) / 2 row by row, weights normalised in each domain."""
    total = 0.0
    for name, domain in DOMAINS:
        rows, above, below = step.streams[name], 0.0, 0.0
        for z, logits in zip(rows.z, rows.logits, strict=True):
            q = torch.sigmoid(discriminator(seen(z, logits.softmax(0))[None])[0, 0])
            w = weight(logits.softmax(0))
            above -= w * (q.log() if domain else (1 - q).log())
            below += w
        total += above / below / 2
    return total


def certainty(p):
    return 1 + math.exp(float((p * p.log()).sum()))


def test_dann_e_is_danns_loss_with_rows_weighed_by_one_plus_exp_minus_entropy():
    term, step = seeded(TERMS["dann_e"]), make_step()
    assert_close(term(step), naive_domain_loss(term.discriminator, step, lambda z, p: z, certainty))
    plain = seeded(TERMS["dann"])
    assert_close(plain(step), naive_domain_loss(plain.discriminator, step, lambda z, p: z, lambda p: 1.0))


def test_the_entropy_weights_are_held_constant():
    term, step = seeded(TERMS["dann_e"]), make_step()
    step.source.logits.requires_grad_()
    (gradient,) = torch.autograd.grad(term(step), [step.source.logits], allow_unused=True)
    assert gradient is None


def naive_random_map(z, p, z_map, p_map):
    k = z_map.shape[1]
    columns = [sum(z[a] * z_map[a, j] for a in range(len(z))) * sum(p[b] * p_map[b, j] for b in range(len(p)))
               for j in range(k)]  # fmt: skip
    return torch.stack(columns) / math.sqrt(k)


def test_randomised_cdan_equals_the_papers_loops():
    term, step = seeded(TERMS["cdan_random"]), make_step()
    seen = partial(naive_random_map, z_map=term.z_map, p_map=term.p_map)
    assert_close(term(step), naive_domain_loss(term.discriminator, step, seen, lambda p: 1.0))


def test_the_random_maps_inner_products_are_on_average_those_of_the_outer_products():
    p, z = normal(2, 3), normal(2, 4, seed=1)
    exact = multilinear_map(p, z) @ multilinear_map(p, z).T
    seen = random_multilinear_map(p, z, normal(3, 400_000, seed=2), normal(4, 400_000, seed=3))
    scale = exact.diagonal().max()
    # the mean of 400,000 products, each with a standard deviation of at most 3 |p|^2 |z|^2: five of its standard errors
    assert_close(seen @ seen.T, exact, rtol=0, atol=float(5 * 3 * scale / math.sqrt(400_000)))


def test_the_random_matrices_are_saved_and_depend_on_the_seed_alone():
    a = ConditionalAdversarial(5, 3, random_dim=7)
    torch.manual_seed(123)
    b, other = ConditionalAdversarial(5, 3, random_dim=7), ConditionalAdversarial(5, 3, random_dim=7, seed=1)
    assert {"z_map", "p_map"} <= a.state_dict().keys()
    assert torch.equal(a.z_map, b.z_map)
    assert not torch.equal(a.z_map, other.z_map)
    assert not any(parameter is a.z_map for parameter in a.parameters())


def test_a_random_map_needs_a_column():
    with pytest.raises(ValueError, match="random_dim must be 1 or more"):
        ConditionalAdversarial(5, 3, random_dim=0)


def test_two_of_k_domains_are_dann_for_the_difference_of_the_outputs():
    dann, many, step = seeded(TERMS["dann"]), seeded(TERMS["multi_domain"]), two_domains()
    with torch.no_grad():
        many.discriminator[0].load_state_dict(dann.discriminator[0].state_dict())
        many.discriminator[2].weight[0].zero_(), many.discriminator[2].bias[0].zero_()
        many.discriminator[2].weight[1] = dann.discriminator[2].weight[0]
        many.discriminator[2].bias[1] = dann.discriminator[2].bias[0]
    step.target.z.requires_grad_()
    assert_close(many(step), dann(step))
    assert_close(many.measures["accuracy"], dann.measures["accuracy"])
    of_many, of_dann = (torch.autograd.grad(term(step), [step.target.z])[0] for term in (many, dann))
    assert_close(of_many, of_dann)


def test_each_of_k_domains_in_the_batch_weighs_the_same():
    term, step = seeded(MultiDomainAdversarial, 5, 4, (8,), 0.0), make_step(n=5, m=3)
    ids = {"source": torch.tensor([0, 0, 0, 2, 0]), "target": torch.tensor([3, 3, 3])}  # no row of domain 1
    streams = {name: step.streams[name]._replace(domain=ids[name]) for name in ids}
    losses, right = {0: [], 2: [], 3: []}, {0: [], 2: [], 3: []}
    for name in ids:
        for z, domain in zip(streams[name].z, ids[name].tolist(), strict=True):
            p = term.discriminator(z[None])[0].softmax(0)
            losses[domain].append(-p[domain].log())
            right[domain].append(float(p.argmax() == domain))
    expected = sum(sum(values) / len(values) for values in losses.values()) / 3
    assert_close(term(step._replace(streams=streams)), expected)
    accuracy = sum(sum(values) / len(values) for values in right.values()) / 3
    assert_close(term.measures["accuracy"], torch.tensor(accuracy).double())


@pytest.mark.parametrize("count", [1, 0])
def test_a_softmax_over_one_domain_is_refused(count):
    with pytest.raises(ValueError, match=f"num_domains must be 2 or more, got {count}"):
        MultiDomainAdversarial(5, count)


@pytest.mark.parametrize("wrong", [2, -1])
def test_a_domain_id_outside_of_the_k_is_named(wrong):
    step = two_domains()
    source = step.source._replace(domain=torch.full_like(step.source.domain, wrong))
    with pytest.raises(ValueError, match=rf"num_domains=2 takes domain ids from 0 to 1, but .* {wrong}"):
        seeded(TERMS["multi_domain"])(step._replace(streams={**step.streams, "source": source}))


def test_several_layers_are_the_sum_of_a_dann_at_each():
    layers, widths = ("features", "logits", "probabilities", "backbone"), (5, 3, 3, 5)
    term = seeded(MultiLayerAdversarial, 5, 3, layers, {"backbone": 5}, (8,), 0.0)
    step, expected, accuracies = make_step(), 0.0, []
    for layer, width, discriminator in zip(layers, widths, term.discriminators, strict=True):
        single = Adversarial(width, (8,), 0.0).double()
        single.discriminator.load_state_dict(discriminator.state_dict())
        streams = {name: step.streams[name]._replace(z=layer_of(step.streams[name], layer)) for name, _ in DOMAINS}
        expected += single(step._replace(streams=streams))
        accuracies.append(single.measures["accuracy"])
    assert_close(term(step), expected)
    assert_close([term.measures[f"accuracy_{layer}"] for layer in layers], accuracies)
    assert_close(term.measures["accuracy"], torch.stack(accuracies).mean())


def test_a_layer_may_have_a_reversal_of_its_own():
    found = []
    for own in ({}, {"probabilities": Constant(0.25)}):
        term, step = seeded(TERMS["multi_layer"], reversal=Constant(1.0), reversals=own), make_step()
        leaves = [step.source.z.requires_grad_(), step.source.logits.requires_grad_(), *term.parameters()]
        found.append(torch.autograd.grad(term(step), leaves))
    (z_one, logits_one, *d_one), (z_own, logits_own, *d_own) = found
    assert_close(z_own, z_one)
    assert_close(logits_own, 0.25 * logits_one)
    assert_close(d_own, d_one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ("features", "backbone")}, r"does not give the width of the layers \['backbone'\]"),
        ({"layers": ("features", "features")}, "one or more different names"),
        ({"layers": ()}, "one or more different names"),
        ({"reversals": {"logits": Constant()}}, r"reversals name \['logits'\], but the layers are \['features'"),
    ],
)
def test_layers_that_cannot_be_seen_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MultiLayerAdversarial(5, 3, **options)


def test_jan_a_is_the_joint_mmd_of_the_mapped_layers():
    term, step = seeded(JAN), make_step()
    sides = []
    for rows in (step.source, step.target):
        layers = (rows.z, rows.logits.softmax(1))
        sides.append([x @ theta.weight.T + theta.bias for x, theta in zip(layers, term.maps, strict=True)])
    assert_close(term(step), Jmmd()(*sides))
    with torch.no_grad():
        for theta in term.maps:
            torch.nn.init.eye_(theta.weight), torch.nn.init.zeros_(theta.bias)
    plain = [[rows.z, rows.logits.softmax(1)] for rows in (step.source, step.target)]
    assert_close(term(step), Jmmd()(*plain))


def test_jan_as_maps_are_reversed_and_its_layers_are_not():
    found = {}
    for strength in (-1.0, 0.5):  # -1: nothing is reversed
        term, step = seeded(JAN, reversal=Constant(strength)), make_step()
        leaves = [step.source.z.requires_grad_(), step.target.logits.requires_grad_(), *term.parameters()]
        found[strength] = torch.autograd.grad(term(step), leaves)
    assert_close(found[0.5][:2], found[-1.0][:2])
    assert_close(found[0.5][2:], tuple(-0.5 * g for g in found[-1.0][2:]))
    assert all(g.abs().max() > 1e-9 for g in found[-1.0][:2])
