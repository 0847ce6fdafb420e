"""ATDOC against the definition in loops, over several batches."""

import pytest
import torch
from conftest import make_step, normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.terms.atdoc import AtdocNa, AtdocNc


def batch(seed, n=6, index=None, scale=3.0):
    """A step of target rows with these numbers."""
    step = make_step(m=n)
    index = torch.arange(n) + 4 * seed if index is None else torch.tensor(index)
    rows = step.target._replace(
        z=normal(n, 5, seed=seed), logits=scale * normal(n, 3, seed=seed + 50), index=index, layers={}
    )
    return step._replace(streams={"target": rows})


def cross_entropy(logits, label):
    return -float(logits.log_softmax(0)[label])


def test_centroids_are_moving_averages_and_the_nearest_in_cosine_is_the_label():
    term, centroids = AtdocNc(5, 3, momentum=0.8).double(), {}
    for seed in range(4):
        step = batch(seed, n=4)
        z, logits = step.target.z, step.target.logits
        for k in range(3):
            members = [row for row, p in zip(z, logits, strict=True) if int(p.argmax()) == k]
            if members:
                mean = sum(members) / len(members)
                centroids[k] = 0.8 * centroids[k] + 0.2 * mean if k in centroids else mean
        total = 0.0
        for row, p in zip(z, logits, strict=True):
            cosine = {k: float(F.cosine_similarity(row, c, dim=0)) for k, c in centroids.items()}
            total += cross_entropy(p, max(cosine, key=cosine.get))
        assert_close(term(step), torch.tensor(total / 4).double())


def test_a_class_that_no_row_was_given_is_nobodys_label():
    step = batch(0, n=4)
    rows = step.target._replace(logits=torch.tensor([[2.0, 1.0, 0.0]] * 4).double())
    value = AtdocNc(5, 3).double()(step._replace(streams={"target": rows}))
    assert_close(value, -torch.tensor([2.0, 1.0, 0.0]).double().log_softmax(0)[0])


def test_the_labels_of_well_separated_clusters_are_those_of_the_clusters():
    # row 3 stands in cluster 1 and is predicted as class 0: its centroid says 1
    z = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.05, 1], [0, 2]]).double()
    logits = torch.tensor([[9.0, 0], [9, 0], [0, 9], [1, 0], [0, 9]]).double()
    step = make_step(m=5)
    rows = step.target._replace(z=z, logits=logits, layers={})
    expected = F.cross_entropy(logits, torch.tensor([0, 0, 1, 1, 1]))
    assert_close(AtdocNc(2, 2).double()(step._replace(streams={"target": rows})), expected)


@pytest.mark.parametrize("index", [None, [3, 8, 1, 0, 9, 2]])
def test_neighbourhood_aggregation_equals_its_definition_in_loops(index):
    term, bank = AtdocNa(5, 3, neighbours=4, temperature=0.5).double(), {}
    for seed in range(4):
        step = batch(seed, index=index)
        rows = step.target
        powers = rows.logits.softmax(1) ** 2
        q = powers / powers.sum(0)
        bank |= {int(i): (F.normalize(z, dim=0), q_i) for i, z, q_i in zip(rows.index, rows.z, q, strict=True)}
        weights, losses = [], []
        for i, z, logits in zip(rows.index.tolist(), rows.z, rows.logits, strict=True):
            cosine = {j: float(f @ F.normalize(z, dim=0)) for j, (f, _) in bank.items() if j != i}
            near = sorted(cosine, key=cosine.get, reverse=True)[:4]
            mean = sum(bank[j][1] for j in near) / 4
            weights.append(float(mean.max()))
            losses.append(cross_entropy(logits, int(mean.argmax())))
        expected = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)
        assert_close(term(step), torch.tensor(expected).double())
        assert_close(term.measures["confidence"], torch.tensor(sum(weights) / 6).double())


def test_a_row_alone_in_the_bank_has_no_neighbour_and_no_loss():
    step = batch(0, n=1)
    value = AtdocNa(5, 3).double()(step)
    assert value == 0


def test_two_rows_are_each_others_only_neighbour():
    # column-wise softmax of 2 log p: q_1 and q_2 sum to 1, so each row is told the class where the other is stronger
    step = batch(0, n=2)
    logits = torch.tensor([[3.0, 0, 0], [0, 3, 0]]).double()
    rows = step.target._replace(logits=logits)
    expected = F.cross_entropy(logits, torch.tensor([1, 0]))
    assert_close(AtdocNa(5, 3).double()(step._replace(streams={"target": rows})), expected)


@pytest.mark.parametrize("term", [AtdocNc(5, 3), AtdocNa(5, 3)])
def test_in_evaluation_mode_nothing_is_remembered(term):
    term.double()(batch(0))
    before = {name: value.clone() for name, value in term.state_dict().items()}
    term.eval()(batch(1))
    assert_close(term.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("make", [lambda: AtdocNc(5, 3, 1.0), lambda: AtdocNa(5, 3, 0), lambda: AtdocNa(5, 3, 5, 0.0)])
def test_impossible_options_are_refused(make):
    with pytest.raises(ValueError, match="momentum must lie|temperature must be positive"):
        make()
