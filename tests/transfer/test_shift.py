"""What is measured of a shift, against closed forms, naive loops, and shifts that were planted."""

from functools import cache

import numpy as np
import pytest
import torch
from conftest import CONF, config, normal, options
from scipy.optimize import minimize
from shifts import EVEN, OTHER, classes
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from da.discrepancies.mmd import mmd2
from da.doctor.advice import RULES, TABLE, Rule, method_of, suggest, to_compare
from da.doctor.diagnosis import as_numbers, diagnose, effective_classes, overlap
from da.doctor.findings import findings
from da.transfer.label_shift import bbse, confusion, label_shift, saerens
from da.transfer.shift import Judged, components, judge, mmd_test


@cache
def null():
    """Two draws of one distribution, and what is found."""
    (z_s, y), (z_t, _) = classes(500, seed=1), classes(400, seed=2)
    return diagnose(z_s, y, z_t, 4, permutations=199)


def test_components_do_not_know_the_domains_and_keep_distances():
    z_s, z_t = normal(90, 5), normal(40, 5, seed=1) + 1
    z_s[:, 3] = z_t[:, 3] = 7  # says nothing
    a, b, variance = components(z_s * 10, z_t * 10, width=64)
    assert a.shape == (90, 4)
    assert variance == pytest.approx(1)
    assert torch.cat([a, b]).var(dim=0).mean() == pytest.approx(1)
    swapped_b, swapped_a, _ = components(z_t, z_s, width=64)
    torch.testing.assert_close(torch.cdist(a, b), torch.cdist(swapped_a, swapped_b))
    rows = torch.cat([z_s, z_t])[:, [0, 1, 2, 4]]
    expected = torch.cdist(*[((rows - rows.mean(0)) / rows.std(0)).split([90, 40])[i] for i in (0, 1)])
    ratio = torch.cdist(a, b) / expected
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
    assert components(z_s, z_t, width=2)[0].shape == (90, 2)
    assert components(normal(20, 30), normal(20, 30), width=64)[0].shape == (20, 10)  # a fourth of the rows
    with pytest.raises(ValueError, match="all 6 rows of both domains are equal"):
        components(torch.ones(4, 2), torch.ones(2, 2), width=2)


def test_the_permutation_test_is_mmd_on_domains_dealt_anew():
    z_s, z_t = normal(9, 3), normal(6, 3, seed=1) + 0.4
    found = mmd_test(z_s, z_t, permutations=30, seed=5)
    rows = torch.cat([z_s, z_t])
    length = float(torch.cdist(rows, rows).square()[np.triu_indices(15, 1)].median())

    def statistic(source, target):
        return float(mmd2(source, target, (1.0,), length, "unbiased"))

    generator = torch.Generator().manual_seed(5)
    orders = [torch.randperm(15, generator=generator) for _ in range(30)]
    dealt = np.array([statistic(rows[order < 9], rows[order >= 9]) for order in orders])
    assert found.value == pytest.approx(statistic(z_s, z_t))
    assert found.p == (1 + (dealt >= found.value).sum()) / 31
    assert found.dealt == pytest.approx(np.quantile(dealt, 0.95))


def test_the_permutation_test_has_its_level():
    p = np.array([mmd_test(normal(12, 2, seed=s), normal(9, 2, seed=s + 5000), 39, s).p for s in range(300)])
    assert 6 <= (p <= 0.05).sum() <= 26  # binomial(300, 0.05): all but 1 in 100 cases
    assert p.mean() == pytest.approx(0.5, abs=0.05)
    assert mmd_test(normal(60, 2), normal(60, 2, seed=1) + 1, 199).p == 1 / 200


def test_equal_statistics_count_as_dealt_by_chance():
    """Two values, each of one domain: a split that repeats this, or exchanges the names, is as good as the true one."""
    z_s, z_t = torch.full((4, 1), 0.1).double(), torch.full((4, 1), 0.7).double()
    generator = torch.Generator().manual_seed(0)
    splits = [torch.randperm(8, generator=generator) < 4 for _ in range(300)]
    same = sum(int(split[:4].sum()) in (0, 4) for split in splits)
    assert same > 0
    assert mmd_test(z_s, z_t, permutations=300).p == (1 + same) / 301


def test_every_row_is_judged_by_a_classifier_that_has_not_seen_it():
    (z_s, y), (z_t, _) = classes(80, seed=3), classes(30, OTHER, seed=4)
    found = judge(z_s, y, z_t, folds=4, seed=7)
    x, t, labels = z_s.numpy(), z_t.numpy(), y.numpy()
    dealt = np.random.default_rng(7).permutation(30) % 4
    for fold, (seen, out) in enumerate(StratifiedKFold(4, shuffle=True, random_state=7).split(x, labels)):
        model = LogisticRegression(max_iter=1000).fit(x[seen], labels[seen])
        means = np.stack([x[seen][labels[seen] == c].mean(axis=0) for c in range(4)])
        inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(x[seen] - means[labels[seen]]).covariance_)

        def far(row, mean, inverse=inverse):
            return ((row - mean) @ inverse @ (row - mean)) ** 0.5

        np.testing.assert_allclose(found.p_s[out], model.predict_proba(x[out]))
        np.testing.assert_allclose(found.far_s[out], [far(x[i], means[labels[i]]) for i in out])
        for j in np.flatnonzero(dealt == fold):
            np.testing.assert_allclose(found.p_t[j], model.predict_proba(t[j : j + 1])[0])
            assert found.far_t[j] == pytest.approx(min(far(t[j], mean) for mean in means))


def test_bbse_solves_for_the_shares_and_stays_in_the_simplex():
    matrix = np.array([[0.8, 0.1, 0.0], [0.1, 0.7, 0.3], [0.1, 0.2, 0.7]])
    q = np.array([0.5, 0.2, 0.3])
    np.testing.assert_allclose(bbse(matrix, matrix @ q), q, atol=1e-9)
    mean = np.array([0.05, 0.05, 0.9])  # no shares explain it
    best = minimize(
        lambda q: ((matrix @ q - mean) ** 2).sum(),
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda q: q.sum() - 1},
        options={"ftol": 1e-14},
    ).x
    np.testing.assert_allclose(bbse(matrix, mean), best, atol=1e-5)
    p, y = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 0, 1])
    np.testing.assert_allclose(confusion(p, y), [[0.8, 0.2], [0.2, 0.8]])


def test_em_finds_the_shares_of_which_the_rows_are_made():
    """x takes three values; the target's rows are exactly as frequent as the shares 0.2 and 0.8 make them."""
    given = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]])  # p(x | y)
    prior, q = np.array([0.4, 0.6]), np.array([0.2, 0.8])
    posterior = (given * prior[:, None] / (prior @ given)).T  # p(y | x) [3, 2]
    rows = np.repeat(posterior, np.round(1000 * q @ given).astype(int), axis=0)
    np.testing.assert_allclose(saerens(rows, prior), q, atol=1e-5)


@pytest.mark.parametrize("shares", [EVEN, OTHER])
def test_the_intervals_of_the_shares_hold_what_was_planted(shares):
    held, small = [], []
    for seed in range(25):
        (z_s, y), (z_t, _) = classes(400, seed=seed), classes(300, shares, seed=seed + 1000)
        judged = judge(z_s, y, z_t)
        found = label_shift(judged.p_s, y.numpy(), judged.p_t, resamples=99, seed=seed)
        held.append((found.low <= shares) & (shares <= found.high))
        small.append(found.p <= 0.05)
        np.testing.assert_allclose(found.target, shares, atol=0.12)
        np.testing.assert_allclose(found.em, found.target, atol=0.05)
    assert np.mean(held) > 0.9  # of 100 intervals at 95 %, four of one draw each time
    assert all(small) if shares is OTHER else sum(small) <= 4  # binomial(25, 0.05)


def test_a_blind_classifier_tells_no_shares():
    z_s, y = classes(300, apart=0.0)
    found = diagnose(z_s, y, classes(300, OTHER, seed=1, apart=0.0)[0], 4, permutations=99)
    assert found.shares.singular < 0.1
    assert not found.telling
    assert not changed(found, shares__p=0.001).shares_differ
    assert findings(found, "abcd")[1].says.startswith("Can't tell")


def test_effective_classes_are_all_of_them_if_they_are_equally_frequent():
    assert effective_classes(np.array([0.5, 0.5, 0])) == pytest.approx(2)
    assert effective_classes(np.array([1.0, 0])) == pytest.approx(1)


def test_a_class_without_a_row_is_missing_only_if_chance_would_not_do_that():
    p_s = np.eye(3)[[0] * 50 + [1] * 45 + [2] * 5]
    p_t = np.eye(3)[[0] * 150 + [1] * 150]
    distances = np.linspace(0, 1, 100)
    y = p_s.argmax(axis=1)
    many = overlap(Judged(p_s, p_t, distances, np.zeros(300)), y, resamples=20)
    assert many.missing == (2,)  # 0.95^300
    few = overlap(Judged(p_s, p_t[100:200], distances, np.zeros(100)), y, resamples=20)
    assert few.missing == ()  # 0.95^100 = 0.006, not below 0.01 / 3
    assert many.accuracy.value == 1
    assert many.used_target.value == pytest.approx(2)
    far = overlap(Judged(p_s, p_t, distances, np.r_[np.zeros(270), np.full(30, 2.0)]), y, resamples=20).far
    assert far.value == 0.1
    assert far.low < 0.1 < far.high


def test_nothing_is_found_where_there_is_nothing():
    d = null()
    assert not d.detected | d.covariate_shift | d.label_shift | d.shares_differ | d.more_than_shares | d.novel
    assert d.telling
    assert d.overlap.missing == ()
    assert d.overlap.near == pytest.approx(0.25, abs=0.1)
    assert [s.rule.name for s in suggest(d)] == ["no_shift"]
    assert "No difference was found" in findings(d, "abcd")[0].says


def test_other_shares_alone_are_a_label_shift_and_no_covariate_shift():
    (z_s, y), (z_t, _) = classes(800, seed=1), classes(600, OTHER, seed=2)
    d = diagnose(z_s, y, z_t, 4, permutations=199)
    assert d.label_shift
    assert not d.covariate_shift
    assert d.distance.low > 0.2
    assert d.left.low < 0.2
    assert d.mmd.p == 1 / 200
    fired = suggest(d)
    assert [s.rule.name for s in fired] == ["label_shift"]
    assert {"mmd", "dann"} <= set(fired[0].rule.avoid)
    assert "label shift" in findings(d, "abcd")[1].says


def test_moved_rows_are_a_covariate_shift_and_no_label_shift():
    (z_s, y), (z_t, _) = classes(500, seed=1), classes(400, seed=2, move=0.5)
    d = diagnose(z_s, y, z_t, 4, permutations=199)
    assert d.covariate_shift
    assert not d.label_shift
    assert d.more_than_shares
    both = diagnose(z_s, y, classes(400, OTHER, seed=2, move=0.5)[0], 4, permutations=199)
    assert both.covariate_shift
    assert both.shares_differ
    assert "Don't rely on it" in findings(both, "abcd")[1].says


def test_a_class_that_only_the_target_has_is_hinted_at():
    z_s, y = classes(600, (0.4, 0.3, 0.3, 0.0), seed=1)
    d = diagnose(z_s, y, classes(600, (0.3, 0.25, 0.25, 0.2), seed=2, apart=5)[0], 3, permutations=99)
    assert not diagnose(z_s, y, classes(600, (0.4, 0.3, 0.3, 0.0), seed=2)[0], 3, permutations=99).novel
    assert d.novel
    assert "open set" in findings(d, "abcd")[2].says
    assert suggest(d)[0].rule.name == "unknown_classes"


def test_a_shift_of_all_rows_is_no_hint_at_unknown_classes():
    (z_s, y), (z_t, _) = classes(500, seed=1), classes(400, seed=2, move=3.0)
    d = diagnose(z_s, y, z_t, 4, permutations=99)
    assert d.overlap.far.value > 0.5
    assert not d.novel
    assert "would not stand out" in findings(d, "abcd")[2].says


def test_a_class_that_only_the_source_has_is_hinted_at():
    (z_s, y), (z_t, _) = classes(600, seed=1, apart=8), classes(500, (0.4, 0.3, 0.3, 0.0), seed=2, apart=8)
    d = diagnose(z_s, y, z_t, 4, permutations=99)
    assert d.overlap.missing == (3,)
    assert "No target row looks like d" in findings(d, "abcd")[2].says
    assert "missing_classes" in [s.rule.name for s in suggest(d)]


def test_classes_of_too_few_rows_are_left_out_and_keep_their_names():
    z_s, y = classes(300, seed=1, apart=8)
    rare = torch.cat([(y == 1).nonzero().flatten()[:3], (y != 1).nonzero().flatten()])
    d = diagnose(z_s[rare], y[rare], classes(300, (0.5, 0, 0.5, 0), seed=2, apart=8)[0], 4, permutations=99)
    assert d.kept == (0, 2, 3)
    assert d.counts[1] == 3
    assert "No target row looks like d" in findings(d, "abcd")[2].says


def test_a_diagnosis_says_who_has_too_few_rows():
    (z, y), many = classes(100), classes(100, seed=1)[0]
    for source, labels, target, said in (
        (z[:19], y[:19], many, "the source has 19 rows, but it takes 20"),
        (z, y, many[:7], "the target has 7 rows"),
        (z, torch.zeros_like(y), many, "the source has one class only"),
        (z[:24], torch.arange(24) % 8, many, "5 folds need 2 classes with 5 source rows; the largest have 3, 3, 3"),
        (torch.ones(30, 2), torch.arange(30) % 2, torch.ones(30, 2), "no feature varies"),
    ):
        with pytest.raises(ValueError, match=said):
            diagnose(source, labels, target, 8, permutations=99)
    with pytest.raises(ValueError, match="class 1 has 3"):
        judge(z[:30], torch.tensor([0] * 27 + [1] * 3), many)
    with pytest.raises(ValueError, match="one class only"):
        judge(z, torch.zeros_like(y), many)


def test_a_diagnosis_is_a_function_of_its_seed_and_plain_numbers():
    (z_s, y), (z_t, _) = classes(200, seed=1), classes(150, seed=2)
    first, again = (as_numbers(diagnose(z_s, y, z_t, 4, permutations=99, seed=3)) for _ in range(2))
    assert first == again
    assert isinstance(first["shares"]["low"], list)
    assert first["detected"] is False


def changed(d, **parts):
    """The diagnosis with some of its parts, or of the numbers in them, changed."""
    for name, value in parts.items():
        part, _, number = name.partition("__")
        d = d._replace(**{part: getattr(d, part)._replace(**{number: value}) if number else value})
    return d


SHIFT = {"mmd__p": 0.005, "left__low": 0.5}
SHARES = {"mmd__p": 0.005, "shares__p": 0.005}


def estimate(value):
    return null().overlap.far._replace(value=value, low=value - 0.01, high=value + 0.01)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("weak_source", lambda: {"overlap__accuracy": estimate(0.26)}),
        ("no_shift", dict),
        ("unknown_classes", lambda: {"overlap__far": estimate(0.2)}),
        ("missing_classes", lambda: {"overlap__missing": (1,)}),
        ("label_shift", lambda: SHARES),
        ("uneven_classes", lambda: {**SHIFT, "counts": (400, 50, 25, 25)}),
        ("slight_shift", lambda: {**SHIFT, "distance__value": 0.6}),
        ("shift_pretrained", lambda: {**SHIFT, "distance__value": 1.2, "pretrained": True}),
        ("shift_from_scratch", lambda: {**SHIFT, "distance__value": 1.2}),
        ("far_apart", lambda: {**SHIFT, "distance__value": 1.9, "distance__low": 1.8}),
        ("unclear_shares", lambda: {**SHARES, "left__low": 0.5}),
        ("few_rows", lambda: {"rows": (79, 400)}),
    ],
)
def test_each_rule_fires_where_it_should_and_not_where_nothing_is(name, parts):
    by_name = {rule.name: rule for rule in RULES}
    d = changed(null(), **parts())
    assert by_name[name].fires(d)
    assert name in [s.rule.name for s in suggest(d)]
    assert by_name[name].fires(null()) == (name == "no_shift")
    if name not in ("no_shift", "weak_source", "few_rows"):
        assert not by_name["no_shift"].fires(d)


def test_every_rule_has_a_case_above_and_a_name_of_its_own():
    cases = test_each_rule_fires_where_it_should_and_not_where_nothing_is.pytestmark[0].args[1]
    assert [name for name, _ in cases] == [rule.name for rule in RULES]


def test_what_one_rule_speaks_against_no_other_suggests():
    d = changed(null(), **SHIFT, distance__value=1.9, distance__low=1.8, counts=(400, 50, 25, 25), pretrained=True)
    suggested = suggest(d)
    assert [s.rule.name for s in suggested] == ["uneven_classes", "shift_pretrained", "far_apart"]
    assert [s.methods for s in suggested][:2] == [("method=mmd",), ("method=cdan",)]
    assert to_compare(suggested) == ["source_only", "mmd", "cdan"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_method_that_a_rule_names_can_be_trained(rule: Rule):
    for words in rule.methods:
        config("data=folder", "data.source=a", "data.target=b", *[w.strip('"') for w in split(words)])
    assert {*map(method_of, rule.methods), *rule.avoid} <= set(options("method"))


def split(words):
    """Words of a command line, where a space inside quotes is none."""
    return words.replace("source: class", "source:class").split(" ")


@pytest.mark.parametrize("name", ["shift_pretrained", "shift_from_scratch"])
def test_the_benchmark_has_what_the_rules_say_of_it(name):
    """The methods of the rule are those of the largest mean gain over source_only, in this order."""
    rule = next(rule for rule in RULES if rule.name == name)
    header, _, *lines = (line for line in (CONF.parent / TABLE).read_text().splitlines() if line.startswith("|"))
    columns = [cell.split()[0] for cell in header.strip("| ").split("|")]
    table = {}
    for line in lines:
        cells = [cell.split()[0] for cell in line.strip("| ").split("|")]
        table[cells[0]] = dict(zip(columns[1:], map(float, cells[1:]), strict=True))
    tasks = rule.rests_on.partition(": ")[2].split(", ")
    gain = {m: np.mean([own[t] - table["source_only"][t] for t in tasks]) for m, own in table.items()}
    order = sorted(gain.keys() - {"source_only", "target_only"}, key=lambda method: -gain[method])
    assert [method_of(words) for words in rule.methods] == order[:3]
