"""Co-Tuning: the relation of the classes against closed forms and a naive regression, and that it is learned once."""

from functools import partial

import pytest
import torch
from conftest import Net, encoded, make_step, normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.models.heads import DomainHeads
from da.terms.co_tuning import STRENGTHS, CoTuning, bayes, direct_relation, reverse_relation


def own_heads():
    """Three classes of the source, four of the target."""
    return Net(head=partial(DomainHeads, target_classes=4))


def labelled(n=24, s=3, t=4):
    """Labelled target rows, with what the source's classifier says of them: some classes look like others."""
    y = torch.arange(n) % t
    logits = normal(n, s, seed=5) + 2 * F.one_hot(y % s, s)
    return encoded(n, c=t)._replace(y=y, layers={"head.source": logits})


def fitted(net, rows, **options):
    term = CoTuning(**options).double()
    term.prepare(net)
    term.double().fit({"labeled": rows})
    return term


def test_the_direct_relation_is_the_mean_prediction_of_every_class():
    rows = labelled()
    term = fitted(own_heads(), rows, relation="direct", temperature=2.0)
    for c in range(4):
        p = [(x / 2).softmax(0) for x, y in zip(rows.layers["head.source"], rows.y, strict=True) if y == c]
        assert_close(term.relation[c], sum(p) / len(p))


def test_bayes_gives_back_the_conditional_of_a_joint_distribution():
    joint = normal(3, 4).softmax(0).flatten().softmax(0).view(3, 4)  # p(y_s, y_t)
    given_source = joint / joint.sum(dim=1, keepdim=True)
    assert_close(bayes(given_source, joint.sum(dim=1)), (joint / joint.sum(dim=0)).T)


def test_both_ways_give_the_frequencies_where_the_source_is_sure():
    """One-hot predictions: the regression's maximum of likelihood is the frequency of y_t given y_s."""
    counts = torch.tensor([[40, 10, 30], [20, 60, 40]])  # of y_t (rows) and y_s
    pairs = [(t, s) for t in range(2) for s in range(3) for _ in range(int(counts[t, s]))]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    y, y_s = (torch.tensor([pairs[i][k] for i in order]) for k in (0, 1))
    p = F.one_hot(y_s).double()
    frequencies = counts.double() / counts.sum(dim=1, keepdim=True)
    assert_close(direct_relation(p, y), frequencies)
    assert_close(reverse_relation(p, y), frequencies, atol=0.02, rtol=0)  # the penalty pulls a little


def naive_regression(p, y, strength):
    """w that minimises C sum_i -log softmax(p_i w)_{y_i} + |w|^2 / 2."""
    w = torch.zeros(p.shape[1], int(y.max()) + 1, dtype=torch.float64, requires_grad=True)
    settings = {"max_iter": 2000, "tolerance_grad": 1e-10, "tolerance_change": 0, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS([w], **settings)

    def loss():
        optimizer.zero_grad()
        value = strength * F.cross_entropy(p @ w, y, reduction="sum") + w.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    return w.detach()


def test_the_reverse_relation_equals_a_naive_regression_with_its_cross_validation():
    rows = labelled(n=40)
    p, y = rows.layers["head.source"].softmax(dim=1), rows.y
    fold = torch.arange(40) // 8  # two of the ten rows of every class in each, in their order
    scores = []
    for strength in STRENGTHS:
        held_out = []
        for k in range(5):
            w = naive_regression(p[fold != k], y[fold != k], strength)
            held_out.append(-F.cross_entropy(p[fold == k] @ w, y[fold == k]))
        scores.append(float(torch.stack(held_out).mean()))
    strength = STRENGTHS[max(range(len(scores)), key=scores.__getitem__)]
    given_source = naive_regression(p, y, strength).softmax(dim=1)
    expected = given_source.T * p.mean(dim=0)
    assert_close(reverse_relation(p, y), expected / expected.sum(dim=1, keepdim=True), atol=1e-6, rtol=0)


def test_the_relation_is_a_distribution_over_the_source_for_every_target_class():
    relation = fitted(own_heads(), labelled()).relation
    assert relation.shape == (4, 3)
    assert_close(relation.sum(dim=1), torch.ones(4, dtype=torch.float64))
    assert relation[:, 0].argmax() in (0, 3)  # classes 0 and 3 of the target look like 0 of the source


def test_the_loss_is_the_cross_entropy_of_the_sources_head_against_the_row_of_the_relation():
    rows = labelled()
    term = fitted(own_heads(), rows)
    step = make_step()
    step = step._replace(streams={"labeled": rows})
    loss = 0.0
    for logits, y in zip(rows.layers["head.source"], rows.y, strict=True):
        loss -= float((term.relation[y] * logits.log_softmax(0)).sum()) / len(rows.y)
    assert_close(term(step), torch.tensor(loss, dtype=torch.float64))


def test_with_one_head_for_all_classes_it_is_that_one():
    rows = encoded(12)
    term = fitted(Net(), rows, relation="direct")
    assert term.layers == ()
    assert_close(term.relation, direct_relation(rows.logits.softmax(dim=1), rows.y))


def test_one_class_in_a_batch_will_do():
    rows = labelled()
    term = fitted(own_heads(), rows)
    one = rows._replace(y=torch.zeros_like(rows.y))
    assert term(make_step()._replace(streams={"labeled": one})).isfinite()


def test_a_relation_that_was_saved_is_not_learned_again():
    net = own_heads()
    term, again = fitted(net, labelled()), CoTuning().double()
    again.prepare(net)
    again.double().load_state_dict(term.state_dict())
    step = make_step()._replace(streams={"labeled": labelled(8)})
    assert_close(again(step), term(step), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relation": "inverse"}, "relation=inverse: expected one of reverse, direct"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"stream": "target"}, "stream=target shows no labels of the target: expected labeled or oracle"),
    ],
)
def test_options_are_checked_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        CoTuning(**options)


def test_needs_a_relation_and_rows_of_every_class():
    term = CoTuning().double()
    with pytest.raises(ValueError, match="has no relation of the classes before prepare"):
        term(make_step())
    term.prepare(own_heads())
    with pytest.raises(ValueError, match="has no relation of the classes before prepare"):
        term(make_step())
    with pytest.raises(ValueError, match=r"needs labelled rows of every class, but labeled has none of \[3\]"):
        term.fit({"labeled": labelled(t=3)})
    with pytest.raises(ValueError, match="needs 2 labelled rows of every class, but one has 1: relation=direct"):
        term.fit({"labeled": labelled(n=7)})
    fitted(own_heads(), labelled(n=7), relation="direct")
