"""NRC against the paper's sums in loops, over several batches."""

import pytest
import torch
from conftest import make_step, normal
from torch.nn import functional as F
from torch.testing import assert_close

from da.terms.nrc import Nrc


def batch(seed, n=6):
    step = make_step(m=n)
    index = torch.arange(n) + 4 * seed  # two rows are seen again in the next batch
    rows = step.target._replace(z=normal(n, 5, seed=seed), logits=normal(n, 3, seed=seed + 50), index=index, layers={})
    return step._replace(streams={"target": rows})


def nearest(bank, f, own, k):
    cosine = {j: float(f @ g) for j, (g, _) in bank.items() if j != own}
    return sorted(cosine, key=cosine.get, reverse=True)[:k]


def naive(bank, rows, k, m, r):
    total, reciprocal = 0.0, 0
    for i, z, logits in zip(rows.index.tolist(), rows.z, rows.logits, strict=True):
        p = logits.softmax(0)
        total -= float(p @ p)  # self-regularisation
        for j in nearest(bank, F.normalize(z, dim=0), i, k):
            expanded = nearest(bank, bank[j][0], j, m)
            affinity = 1.0 if i in expanded else r
            reciprocal += i in expanded
            total -= affinity * float(bank[j][1] @ p)
            total -= sum(r * float(bank[e][1] @ p) for e in expanded)
    return total / len(rows.z), reciprocal


@pytest.mark.parametrize(("k", "m"), [(4, 3), (3, 2)])
def test_nrc_equals_the_papers_sums_in_loops(k, m):
    term, bank, seen = Nrc(5, 3, neighbours=k, expanded=m, affinity=0.1).double(), {}, 0
    for seed in range(4):
        rows = (step := batch(seed)).target
        p = rows.logits.softmax(1)
        bank |= {int(i): (F.normalize(z, dim=0), p_i) for i, z, p_i in zip(rows.index, rows.z, p, strict=True)}
        expected, reciprocal = naive(bank, rows, k, m, 0.1)
        seen += reciprocal
        assert_close(term(step), torch.tensor(expected).double())
    assert 0 < seen < 4 * 6 * k  # both kinds of neighbour were there


def test_it_is_lowest_where_all_rows_are_certain_of_one_class():
    step = batch(0)
    rows = step.target._replace(logits=torch.tensor([[1e4, 0, 0]] * 6).double())
    value = Nrc(5, 3, neighbours=5, expanded=5, affinity=0.1).double()(step._replace(streams={"target": rows}))
    assert_close(value, torch.tensor(-(5 + 0.1 * 25 + 1)).double())  # six rows: all are reciprocal


def test_the_predictions_of_others_and_the_rows_own_copy_are_constant():
    step = batch(0)
    logits = step.target.logits.clone().requires_grad_()
    Nrc(5, 3, neighbours=5, expanded=5, affinity=0.5).double()(
        step._replace(streams={"target": step.target._replace(logits=logits)})
    ).backward()
    again = step.target.logits.clone().requires_grad_()
    p = again.softmax(1)
    fixed = p.detach()
    others = fixed.sum(0) - fixed  # the five other rows are neighbours, and reciprocal
    # each row's five neighbours each have all rows but themselves: the row itself 5 times, each other row 4 times
    wanted = others + 0.5 * (5 * fixed + 4 * others) + fixed
    (-(p * wanted).sum(1).mean()).backward()
    assert_close(logits.grad, again.grad)


def test_a_single_row_has_only_its_own_copy():
    step = batch(0, n=1)
    p = step.target.logits.softmax(1)
    assert_close(Nrc(5, 3).double()(step), -p.square().sum())


def test_in_evaluation_mode_nothing_is_remembered():
    term = Nrc(5, 3).double()
    term(batch(0))
    before = {name: value.clone() for name, value in term.state_dict().items()}
    term.eval()(batch(1))
    assert_close(term.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"neighbours": 0}, {"expanded": 0}, {"affinity": 1.5}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="neighbours and expanded must be at least 1 and affinity in"):
        Nrc(5, 3, **options)
