"""Distillation against closed forms and the papers' loops."""

import copy
import math
from functools import partial

import pytest
import torch
from conftest import Net, encoded, make_step, normal
from processes import on_processes
from torch import nn
from torch.testing import assert_close

from da.models.heads import DomainHeads
from da.terms.distillation import (
    FeatureDistillation,
    LogitDistillation,
    RelationDistillation,
)
from da.terms.relations import cosines, relative_distances

DISTILLATIONS = [LogitDistillation, FeatureDistillation, RelationDistillation]


def seen_by(net, step):
    """The step with what the network makes of x in place of random numbers."""
    streams = {}
    for name, rows in step.streams.items():
        z, logits = net(step.batch[name].x)
        streams[name] = rows._replace(z=z, logits=logits)
    return step._replace(streams=streams)


def perturbed(net):
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.add_(0.3 * normal(*p.shape, seed=i))
    return net


@pytest.mark.parametrize("cls", DISTILLATIONS)
def test_is_exactly_zero_at_the_start_and_has_no_gradient(cls):
    step = make_step()
    term = cls()
    term.prepare(step.net)
    value = term(seen_by(step.net, step))
    value.backward()
    assert value == 0
    assert all(p.grad is None or p.grad.abs().max() < 1e-16 for p in step.net.parameters())


@pytest.mark.parametrize("cls", DISTILLATIONS)
def test_is_the_mean_over_its_streams(cls):
    step = make_step()
    terms = [cls(streams=streams) for streams in (["source"], ["target"], ["source", "target"])]
    for term in terms:
        term.prepare(step.net)
    source, target, both = (term(step) for term in terms)
    assert_close(both, (source + target) / 2)
    assert terms[0].streams == {"source"}


@pytest.mark.parametrize("cls", DISTILLATIONS)
def test_the_teacher_may_come_from_the_checkpoint_of_a_run(cls, tmp_path):
    step, other = make_step(), perturbed(Net())
    state = {f"net.{key}": value for key, value in other.state_dict().items()} | {"objective.x": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    loaded, direct = cls(teacher=str(tmp_path / "last.ckpt")), cls()
    loaded.prepare(step.net)
    direct.prepare(other)
    assert_close(loaded(step), direct(step), rtol=0, atol=0)


def own_heads():
    """Three classes of the source and four of the target."""
    return Net(head=partial(DomainHeads, target_classes=4))


def test_learning_without_forgetting_is_on_the_source_s_head_for_the_target_s_rows():
    net = own_heads()
    term, start = LogitDistillation(2.0, streams=["labeled"], layer=None), copy.deepcopy(net)
    term.prepare(net)
    assert term.layers == ("head.source",)
    perturbed(net).watch(term.layers)
    step = make_step()
    rows, x = step.streams["labeled"], step.batch["labeled"].x
    z, logits = net(x)
    seen = rows._replace(z=z, logits=net.logits_of("target", logits), layers=dict(net.watched))
    value = term(step._replace(streams={"labeled": seen}, net=net))
    expected = 0.0
    for new, old in zip(net.head.source(z).tolist(), start.head.source(start(x)[0]).tolist(), strict=True):
        p, q = ([math.exp(a / 2) / sum(math.exp(b / 2) for b in row) for a in row] for row in (old, new))
        expected += 4 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / len(x)
    assert_close(value.detach(), torch.tensor(expected, dtype=torch.float64))
    value.backward()
    assert net.head.source.weight.grad.abs().max() > 0
    assert net.head.target.weight.grad is None or net.head.target.weight.grad.abs().max() == 0


def test_where_there_is_one_head_the_source_s_classifier_is_that_one():
    step = make_step()
    terms = [LogitDistillation(layer=layer) for layer in (None, "logits")]
    for term in terms:
        term.prepare(step.net)
    assert terms[0].layers == ()
    assert_close(terms[0](step), terms[1](step), rtol=0, atol=0)


def test_needs_a_teacher():
    with pytest.raises(ValueError, match="LogitDistillation has no teacher before prepare"):
        LogitDistillation()(make_step())


def test_logits_equal_a_loop_over_rows_and_classes():
    student, teacher, t = encoded(4), encoded(4, seed=7), 3.0
    expected = 0.0
    for a, b in zip(student.logits.tolist(), teacher.logits.tolist(), strict=True):
        q, p = ([math.exp(x / t) / sum(math.exp(y / t) for y in row) for x in row] for row in (a, b))
        expected += t**2 * sum(p[k] * math.log(p[k] / q[k]) for k in range(3)) / 4
    assert_close(LogitDistillation(t).compare(student, teacher), torch.tensor(expected, dtype=torch.float64))


def test_gradient_of_the_logits_is_t_times_the_difference_of_the_probabilities():
    student, teacher, t = encoded(4), encoded(4, seed=7), 3.0
    logits = student.logits.clone().requires_grad_()
    LogitDistillation(t).compare(student._replace(logits=logits), teacher).backward()
    assert_close(logits.grad, t * ((logits / t).softmax(1) - (teacher.logits / t).softmax(1)).detach() / 4)


def test_at_high_temperature_it_is_the_squared_difference_of_centred_logits():
    # Hinton et al. 2015, eq. 4. What the limit leaves out falls as 1 / T.
    a, b = (rows.logits - rows.logits.mean(1, keepdim=True) for rows in (encoded(4), encoded(4, seed=7)))
    student, teacher = (encoded(4)._replace(logits=logits) for logits in (a, b))
    limit = (a - b).square().sum(1).mean() / (2 * 3)
    assert_close(LogitDistillation(1e4).compare(student, teacher), limit, rtol=1e-3, atol=0)


def test_features_equal_a_loop_and_the_gradient_is_the_difference():
    student, teacher = encoded(4), encoded(4, seed=7)
    z = student.z.clone().requires_grad_()
    value = FeatureDistillation().compare(student._replace(z=z), teacher)
    expected = sum(float((a - b) @ (a - b)) / 2 / 4 for a, b in zip(student.z, teacher.z, strict=True))
    value.backward()
    assert_close(value.detach(), torch.tensor(expected, dtype=torch.float64))
    assert_close(z.grad, (z.detach() - teacher.z) / 4)


def test_a_projection_between_layers_of_different_width_is_learned():
    step = make_step()
    wide = FeatureDistillation("logits", "features", nn.Linear(3, 5).double())
    wide.prepare(step.net)
    wide(step).backward()
    assert sum(p.requires_grad for p in wide.parameters()) == 2
    assert all(p.grad.abs().sum() > 0 for p in wide.projection.parameters())
    with torch.no_grad():
        taught = wide.teacher(step.batch["source"].x)[0]
        expected = (wide.projection(step.source.logits) - taught).square().sum(1).mean() / 2
    alone = FeatureDistillation("logits", "features", wide.projection, streams=["source"])
    alone.prepare(step.net)
    assert_close(alone(step), expected)


def test_layers_of_different_width_need_a_projection():
    term = FeatureDistillation("logits", "features")
    term.prepare(Net())
    with pytest.raises(ValueError, match=r"layer=logits gives \(3,\) a row and teacher_layer=features \(5,\)"):
        term(make_step())


def huber(x):
    return 0.5 * x * x if abs(x) <= 1 else abs(x) - 0.5


def naive_relations(s, t, angle_weight):
    """Park et al. 2019, sec. 3.2, with means in place of the sums."""
    n = len(s)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    triplets = [(i, j, k) for i, j in pairs for k in range(n) if k not in (i, j)]

    def distance(z, i, j):
        return float((z[i] - z[j]).norm())

    def cosine(z, i, j, k):
        legs = distance(z, i, j) * distance(z, k, j)
        return float((z[i] - z[j]) @ (z[k] - z[j])) / legs if legs else 0.0

    mu_s, mu_t = (sum(distance(z, *pair) for pair in pairs) / len(pairs) for z in (s, t))
    distances = sum(huber(distance(t, *pair) / mu_t - distance(s, *pair) / mu_s) for pair in pairs) / len(pairs)
    angles = sum(huber(cosine(t, *three) - cosine(s, *three)) for three in triplets) / len(triplets)
    return distances + angle_weight * angles


def relations(s, t, **options):
    rows = [encoded(len(z))._replace(z=z) for z in (s, t)]
    return RelationDistillation(**options).compare(*rows)


@pytest.mark.parametrize("angle_weight", [0.0, 2.0])
def test_relations_equal_loops_over_pairs_and_triplets(angle_weight):
    s, t = normal(7, 4) ** 3, normal(7, 2, seed=1)  # cubed, so that some differences are above 1
    s[3] = s[2]  # and two rows that coincide on one side only
    expected = torch.tensor(naive_relations(s, t, angle_weight), dtype=torch.float64)
    assert_close(relations(s, t, angle_weight=angle_weight), expected)


def test_relations_do_not_see_a_shift_a_rotation_or_a_scale():
    z = normal(8, 4)
    rotation = torch.linalg.qr(normal(4, 4, seed=1)).Q
    assert relations(z, 3 * z @ rotation + 5) < 1e-28
    assert relations(z, z * torch.tensor([1.0, 2.0, 1.0, 1.0])) > 1e-3


def test_gradient_of_the_relations_equals_finite_differences():
    t = normal(5, 3, seed=1)
    assert torch.autograd.gradcheck(lambda z: relations(z, t), normal(5, 3).requires_grad_())


def test_cosines_of_a_right_angle_and_of_rows_on_a_line():
    z = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    at_origin = cosines(relative_distances(z))[0]
    expected = torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
    assert_close(at_origin[1:4, 1:4], expected)
    assert at_origin[4].abs().max() == 0  # the last row lies on the first, so there is no angle


def test_rows_that_coincide_or_nearly_do_give_a_finite_gradient_in_float32():
    z = normal(6, 4, dtype=torch.float32) + 100
    z[1], z[3] = z[0], z[2] + 1e-5
    z.requires_grad_()
    relations(z, normal(6, 4, seed=1, dtype=torch.float32)).backward()
    assert z.grad.isfinite().all()


def test_cosines_are_wrong_by_rounding_times_the_ratio_of_the_legs_however_far_the_origin():
    z = normal(8, 4, dtype=torch.float32) + 1000
    z[3] = z[2] + 1e-3
    exact = relative_distances(z.double())
    ratios = exact.unsqueeze(2) / exact.unsqueeze(1)
    bound = 4 * torch.finfo(torch.float32).eps * (ratios + 1 / ratios)
    error = (cosines(relative_distances(z)).double() - cosines(exact)).abs()
    is_angle = ratios.isfinite() & (ratios > 0)
    assert is_angle.sum() == 8 * 7 * 7
    assert (error[is_angle] <= bound[is_angle]).all()


def test_more_rows_than_asked_for_are_thinned_out_in_the_triplets_only():
    s, t = normal(12, 4), normal(12, 4, seed=1)
    pairs, half = relations(s, t, angle_weight=0.0), (s[::2], t[::2])
    thin = relations(*half) - relations(*half, angle_weight=0.0)
    assert_close(relations(s, t, angle_rows=7), pairs + thin)
    assert_close(relations(s, t, angle_rows=12), relations(s, t))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogitDistillation(0.0), "temperature must be positive, got 0"),
        (lambda: LogitDistillation(layer="probabilities"), "layer=probabilities are softened no more"),
        (lambda: LogitDistillation(streams=["source", "source"]), "streams must be one or more different names"),
        (lambda: RelationDistillation(angle_weight=-1.0), "angle_weight=-1.0"),
        (lambda: RelationDistillation(angle_rows=2), "angle_rows=2"),
    ],
)
def test_options_are_checked_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def on_a_share(rank, world):
    found = []
    for cls in DISTILLATIONS:
        step, term = make_step(n=8), cls(streams=["source"])
        term.prepare(step.net)
        leaves = [x.clone().requires_grad_() for x in (step.source.z, step.source.logits)]
        z, logits = (x.chunk(world)[rank] for x in leaves)
        batch = {"source": step.batch["source"]._replace(x=step.batch["source"].x.chunk(world)[rank])}
        value = term(step._replace(streams={"source": step.source._replace(z=z, logits=logits)}, batch=batch))
        value.backward()
        found += [value.detach(), *[torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]]
    return found


@pytest.mark.ddp
def test_two_processes_equal_one_on_the_whole_batch():
    # Values, too, are means over the ranks: those of the relations are the same on each.
    a, b = on_processes(2, on_a_share)
    assert_close([(x + y) / 2 for x, y in zip(a, b, strict=True)], on_a_share(0, 1))
    assert_close(a[6], b[6])
