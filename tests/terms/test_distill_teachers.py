"""Distillation of several teachers: against that of one, rows left out, and the folder of a run as teacher."""

import pytest
import torch
from conftest import Net, config, encoded, make_step, normal
from processes import on_processes
from saved_runs import WIDE, write_run
from torch.testing import assert_close

from da.build import build
from da.models.saved import read_run, saved_network
from da.terms.distill_teachers import AssignedDistillation, TeacherDistillation, soft_label_loss
from da.terms.distillation import LogitDistillation
from da.transfer.panel import Panel
from da.types import Samples, Step

TOY = ("data=toy", "net=mlp")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / "a", *TOY), write_run(folder / "b", *TOY, *WIDE, seed=5)]


def toy_step():
    """Eight target rows in the plane, as a student with random weights sees them."""
    torch.manual_seed(3)
    net = build(config(*TOY).net, "net")
    x, rows = 5 * normal(8, 2, dtype=torch.float32), torch.arange(8)
    z, logits = net(x)
    target = encoded(8)._replace(z=z, logits=logits, index=rows)
    return Step({"target": target}, 0.5, {"target": Samples(x, rows, rows, rows)}, net)


def term_of(step, **options):
    rest = {name: options.pop(name) for name in ("temperature", "labels") if name in options}
    term = TeacherDistillation(Panel(**options), **rest)
    term.prepare(step.net)
    return term


@pytest.mark.parametrize("combine", ["union", "intersection", "extension"])
def test_of_one_teacher_it_is_the_distillation_of_one(runs, combine):
    step = toy_step()
    one = LogitDistillation(3.0, teacher=runs[1], streams=["target"])
    one.prepare(step.net)
    assert one(step) > 0
    assert_close(term_of(step, runs=[runs[1]], combine=combine, temperature=3.0)(step), one(step))


def test_the_folder_of_a_run_teaches_what_its_network_says(runs):
    step = toy_step()
    one = LogitDistillation(teacher=runs[1], streams=["target"])
    one.prepare(step.net)
    expected = encoded(8)._replace(logits=saved_network(read_run(runs[1]))(step.batch["target"].x)[1])
    assert_close(one(step), one.compare(step.target, expected))
    assert not one.state_dict()
    copied = LogitDistillation(teacher=f"{runs[0]}/checkpoints/selected.ckpt")
    copied.prepare(step.net)
    assert copied.state_dict()  # as ever: a checkpoint of the same network is a copy of the student's


def test_the_gradient_of_a_kept_row_is_that_of_distillation_and_that_of_another_is_zero():
    logits, q, t = normal(5, 3).requires_grad_(), normal(5, 3, seed=1).softmax(1), 3.0
    kept = torch.tensor([True, False, True, True, False])
    soft_label_loss(logits, q * kept[:, None], t).backward()
    expected = t * ((logits / t).softmax(1) - q) * kept[:, None] / 5
    assert_close(logits.grad, expected.detach())


def test_the_loss_of_hard_labels_is_the_cross_entropy(runs):
    step = toy_step()
    term = term_of(step, runs=runs, labels="hard", temperature=2.0)
    y = term.teachers([step.batch["target"].x]).combined.log_p.argmax(1)
    assert_close(term(step), 4 * torch.nn.functional.cross_entropy(step.target.logits / 2, y))


def test_rows_below_the_threshold_do_not_count_and_are_logged(runs):
    step = toy_step()
    term, everything = term_of(step, runs=runs, threshold=0.6), term_of(step, runs=runs)
    confidence = term.teachers([step.batch["target"].x]).combined.log_p.exp().amax(1)
    kept = confidence >= 0.6
    assert 0 < kept.sum() < 8
    rows = kept.nonzero().flatten()
    target = step.target._replace(logits=step.target.logits[rows])
    batch = {"target": step.batch["target"]._replace(x=step.batch["target"].x[rows])}
    assert_close(term(step), everything(step._replace(streams={"target": target}, batch=batch)) * len(rows) / 8)
    assert term.measures["kept"] == kept.float().mean()
    assert set(term.measures) == {"kept", "agreement"}
    assert term.may_be_idle
    assert not everything.may_be_idle


def test_assigned_labels_are_looked_up_by_the_number_of_the_row():
    step, q = make_step(), normal(9, 3, seed=5).softmax(1)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    target = step.target._replace(logits=step.target.logits[order], index=order)
    term = AssignedDistillation(2.0, may_be_idle=False)
    with pytest.raises(ValueError, match="no labels were assigned before the first step"):
        term(step)
    term.assign(q, {"kept": torch.tensor(0.25)})
    assert_close(term(step._replace(streams={"target": target})), soft_label_loss(step.target.logits, q, 2.0))
    assert term.measures == {"kept": 0.25}
    assert not term.state_dict()


def test_the_temperature_is_checked_at_construction():
    with pytest.raises(ValueError, match=r"temperature must be positive, got 0.0"):
        TeacherDistillation(temperature=0.0)


def test_the_teachers_of_another_network_must_read_what_it_reads(runs):
    with pytest.raises(ValueError, match="tells 2 classes apart, but the student 3"):
        TeacherDistillation(Panel(runs)).prepare(Net())


def on_a_share(rank, world, runs):
    """Value, gradient and measures of the last term, on this process's rows."""
    step, found = toy_step(), []
    logits = step.target.logits.detach().chunk(world)[rank].requires_grad_()
    batch = {"target": step.batch["target"]._replace(x=step.batch["target"].x.chunk(world)[rank])}
    for name in ("uniform", "entropy", "infomax", "similarity"):
        term = term_of(step, runs=runs, weigh_by=name, threshold=0.55)
        value = term(step._replace(streams={"target": step.target._replace(logits=logits)}, batch=batch))
        (gradient,) = torch.autograd.grad(value, logits)
        found.append([value.detach(), gradient, *(term.measures[key] for key in sorted(term.measures))])
    return found


@pytest.mark.ddp
def test_two_processes_weigh_the_teachers_as_one_on_the_whole_batch(runs, tmp_path):
    normed = [runs[1], write_run(tmp_path / "c", *TOY, *WIDE, "net.backbone.dims=[4,8]", seed=1)]
    halves = on_processes(2, on_a_share, normed)
    for one, a, b in zip(on_a_share(0, 1, normed), *halves, strict=True):
        assert_close([(x + y) / 2 for x, y in zip(a[:1] + a[2:], b[:1] + b[2:], strict=True)], one[:1] + one[2:])
        assert_close(torch.cat([a[1], b[1]]) / 2, one[1])
