"""Closed forms, and naive formulas written from the papers."""

import math

import pytest
import torch
from conftest import encoded, make_step, normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.discrepancies.linear import Linear as MeanDistance
from da.schedules import Constant, Linear
from da.terms.adversarial import Adversarial, ConditionalAdversarial, multilinear_map, reverse_gradient
from da.terms.align import Align, layer_of
from da.terms.base import Losses, Objective
from da.terms.bnm import Bnm
from da.terms.entropy import Diversity, Entropy, entropy
from da.terms.mcc import class_confusion
from da.terms.pseudo_label import PseudoLabel
from da.terms.supervised import CrossEntropy


def with_target_logits(logits):
    step = make_step(m=len(logits))
    return step._replace(streams={**step.streams, "target": step.target._replace(logits=logits)})


def certain(*classes, c=3):
    """Logits of predictions that are certain to the last bit."""
    return 1e4 * F.one_hot(torch.tensor(classes), c).double()


def test_reversal_changes_the_gradient_and_nothing_else():
    x = normal(4).requires_grad_()
    assert_close(reverse_gradient(x, 0.3), x)
    reverse_gradient(x, 0.3).square().sum().backward()
    assert_close(x.grad, -0.3 * 2 * x.detach())


def test_multilinear_map_is_the_outer_product_of_each_row():
    p, z = normal(4, 3), normal(4, 5, seed=1)
    assert_close(multilinear_map(p, z)[2], torch.outer(p[2], z[2]).flatten())


@pytest.mark.parametrize(
    "make", [lambda r: Adversarial(5, (8,), 0.0, r), lambda r: ConditionalAdversarial(5, 3, (8,), 0.0, r)]
)
def test_reversal_strength_scales_the_features_gradient_but_not_the_discriminators(make):
    gradients = []
    for strength in (1.0, 0.5):
        torch.manual_seed(0)
        term, step = make(Constant(strength)).double(), make_step()
        step.source.z.requires_grad_()
        term(step).backward()
        gradients.append((step.source.z.grad, next(term.parameters()).grad))
    (z_full, d_full), (z_half, d_half) = gradients
    assert_close(z_half, 0.5 * z_full)
    assert_close(d_half, d_full)


def test_adversarial_is_log_2_for_a_discriminator_that_cannot_tell():
    term = Adversarial(5, (8,)).double()
    for parameter in term.parameters():
        torch.nn.init.zeros_(parameter)
    assert_close(term(make_step()), torch.tensor(math.log(2), dtype=torch.float64))


def test_adversarial_has_no_loss_for_a_discriminator_that_knows():
    term = Adversarial(1, (1,), 0.0).double()
    with torch.no_grad():  # score = 100 relu(z) - 50
        term.discriminator[0].weight.fill_(1.0), term.discriminator[0].bias.zero_()
        term.discriminator[2].weight.fill_(100.0), term.discriminator[2].bias.fill_(-50.0)
    step = make_step()
    source, target = (
        step.source._replace(z=torch.ones(12, 1).double()),
        step.target._replace(z=-torch.ones(9, 1).double()),
    )
    assert term(step._replace(streams={"source": source, "target": target})) < 1e-20


def test_cdan_e_weighs_the_rows_of_each_domain_by_one_plus_exp_minus_entropy():
    torch.manual_seed(0)
    term, step = ConditionalAdversarial(5, 3, (8,), 0.0, entropy_conditioning=True).double(), make_step()
    expected = 0.0
    for rows, domain in ((step.source, 1.0), (step.target, 0.0)):
        total = norm = 0.0
        for z, logits in zip(rows.z, rows.logits, strict=True):
            p = logits.softmax(0)
            weight = 1 + math.exp(float((p * p.log()).sum()))
            score = term.discriminator(torch.outer(p, z).flatten()[None])[0]
            total += weight * F.binary_cross_entropy_with_logits(score, torch.full_like(score, domain))
            norm += weight
        expected += total / norm / 2
    assert_close(term(step), expected)


def test_entropy_of_uniform_and_of_certain_predictions():
    assert_close(entropy(torch.zeros(2, 4)), torch.full((2,), math.log(4)))
    assert_close(entropy(certain(0, 1)), torch.zeros(2).double())


def test_diversity_is_lowest_when_every_class_is_used_alike():
    assert_close(Diversity()(with_target_logits(certain(0, 1, 2))), torch.tensor(-math.log(3)).double())
    assert_close(Diversity()(with_target_logits(certain(1, 1, 1))), torch.tensor(0.0).double())


def test_entropy_minus_diversity_is_the_mutual_information():
    step = make_step()
    p = step.target.logits.softmax(1)
    information = (p * (p / p.mean(0)).log()).sum(1).mean()
    assert_close(-(Entropy()(step) + Diversity()(step)), information)


def naive_class_confusion(logits, temperature):
    n, c = logits.shape
    p = (logits / temperature).softmax(1)
    w = [1 + math.exp(float((row * row.log()).sum())) for row in p]
    total = 0.0
    for j in range(c):
        row = [sum(n * w[i] / sum(w) * p[i, j] * p[i, k] for i in range(n)) for k in range(c)]
        total += sum(row[k] / sum(row) for k in range(c) if k != j) / c
    return total


def test_mcc_equals_the_papers_loops():
    logits = normal(9, 3)
    assert_close(class_confusion(logits, 2.5), naive_class_confusion(logits, 2.5))


def test_mcc_is_zero_without_confusion():
    assert_close(class_confusion(certain(0, 1, 2), 1.0), torch.tensor(0.0).double())


def test_bnm_of_certain_predictions_is_the_sum_of_root_class_sizes():
    # P^T P is diagonal with the class sizes, so the singular values are their square roots.
    expected = -(math.sqrt(3) + math.sqrt(2) + 1) / 6
    assert_close(Bnm()(with_target_logits(certain(0, 0, 0, 1, 1, 2))), torch.tensor(expected).double())


def test_pseudo_labels_are_looked_up_by_row_number():
    step, term = make_step(m=3), PseudoLabel()
    term.assign(torch.tensor([2, 0, -1]))
    rows = step.target._replace(index=torch.tensor([1, 2, 0]))
    step = step._replace(streams={"target": rows})
    log_p = rows.logits.log_softmax(1)
    assert_close(term(step), -(log_p[0, 0] + log_p[2, 2]) / 2)  # row 2 has no label


def test_pseudo_labels_must_be_assigned_first():
    with pytest.raises(ValueError, match="no pseudo-labels"):
        PseudoLabel()(make_step())


def test_align_reads_the_layer_it_is_told():
    rows = encoded(4)
    assert_close(layer_of(rows, "probabilities").sum(1), torch.ones(4).double())
    step = make_step()
    expected = (step.source.logits.mean(0) - step.target.logits.mean(0)).square().sum()
    assert_close(Align(MeanDistance(), "logits")(step), expected)


def test_objective_is_the_weighted_sum():
    step = make_step(progress=0.25)
    terms = {"task": CrossEntropy(), "entropy": Entropy(), "diversity": Diversity()}
    losses = Objective(terms, {"entropy": Linear(0.0, 2.0), "diversity": Constant(3.0)})(step)
    expected = F.cross_entropy(step.source.logits, step.source.y) + 0.5 * Entropy()(step) + 3 * Diversity()(step)
    assert_close(losses.total, expected)
    assert losses.weights == {"task": 1.0, "entropy": 0.5, "diversity": 3.0}


def test_objective_names_a_weight_without_a_term():
    with pytest.raises(ValueError, match=r"weights name \['algin'\], but the terms are \['task'\]"):
        Objective({"task": CrossEntropy()}, {"algin": Constant()})


def test_objective_reports_reversal_beside_and_not_as_weight():
    objective = Objective({"adversarial": Adversarial(5, reversal=Linear()).double()}, {"adversarial": Constant(0.1)})
    losses = objective(make_step(progress=0.25))
    assert losses.weights == {"adversarial": 0.1}
    assert losses.reversals == {"adversarial": 0.25}


def test_the_term_that_is_not_finite_is_named():
    losses = Losses(torch.tensor(math.nan), {"task": torch.tensor(1.0), "align": torch.tensor(math.inf)}, {})
    with pytest.raises(FloatingPointError, match="term 'align' is inf"):
        losses.check_finite()
