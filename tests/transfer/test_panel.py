"""Several teachers asked together: weights, temperatures, a student among them, and options that contradict."""

import pytest
import torch
from conftest import config, normal
from saved_runs import WIDE, write_run
from torch.testing import assert_close

from da.build import build
from da.models.saved import read_run, saved_network
from da.transfer.panel import Panel
from da.transfer.similarity import domain_distance, watch_batch_norm
from da.transfer.teachers import by_entropy, extension, information, intersection, union

TOY = ("data=toy", "net=mlp")
X = 5 * normal(30, 2, dtype=torch.float32)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / "a", *TOY, *WIDE, seed=0, scale=2), write_run(folder / "b", *TOY, *WIDE, seed=5)]


def student():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return build(config(*TOY, *WIDE).net, "net").eval()


def ask(runs, *batches, with_student=None, **options):
    panel = Panel(runs, **options)
    panel.prepare(student())
    return panel(batches or [X], with_student)


def networks(runs):
    return [saved_network(read_run(run)) for run in runs]


def predictions(*nets, temperatures=(1.0, 1.0, 1.0)):
    with torch.no_grad():
        return torch.stack([(net(X)[1] / t).log_softmax(1) for net, t in zip(nets, temperatures, strict=False)])


@pytest.mark.parametrize("rule", [union, intersection])
def test_it_combines_what_the_networks_of_the_runs_say(runs, rule):
    log_p = predictions(*networks(runs))
    found, expected = ask(runs, combine=rule.__name__, threshold=0.6), rule(log_p, 0.6)
    assert_close(found.combined.log_p, expected.log_p)
    assert found.combined.kept.equal(expected.kept)
    assert 0 < expected.kept.sum() < len(X)
    assert found.measures["kept"] == expected.kept.float().mean()
    agreed = (log_p[0].argmax(1) == log_p[1].argmax(1)).float().mean()
    assert 0 < found.measures["agreement"] == agreed < 1


def expected_weights(name, nets, log_p):
    match name:
        case "uniform":
            return torch.full((len(nets), 1), 1 / len(nets))
        case "entropy":
            return by_entropy(log_p)
        case "infomax":
            return information(log_p).softmax(0)[:, None]
    distances = []
    for net in nets:
        with torch.no_grad(), watch_batch_norm(net) as found:
            net(X)
        distances.append(domain_distance(net, found))
    return (-torch.stack(distances)).softmax(0)[:, None].float()


@pytest.mark.parametrize("joins", [False, True])
@pytest.mark.parametrize("name", ["uniform", "entropy", "similarity", "infomax"])
def test_the_mean_is_weighted_as_asked_and_the_student_like_the_others(runs, name, joins):
    nets = [*networks(runs), *([student()] if joins else [])]
    log_p = predictions(*nets)
    weights = expected_weights(name, nets, log_p)
    assert_close(weights.sum(dim=0), torch.ones(weights.shape[1]))
    found = ask(runs, weigh_by=name, with_student=student() if joins else None)
    assert_close(found.combined.log_p, extension(log_p, weights, 0.0).log_p)
    logged = [float(value) for key, value in found.measures.items() if key.startswith("weight_")]
    assert logged == pytest.approx([] if name == "uniform" else weights.mean(dim=1).tolist(), rel=1e-5)


@pytest.mark.parametrize("name", ["similarity", "infomax"])
def test_rows_in_several_batches_are_answered_as_one(runs, name):
    parts, whole = ask(runs, X[:11], X[11:], weigh_by=name), ask(runs, weigh_by=name)
    assert_close(parts.combined.log_p, whole.combined.log_p)


def test_logits_are_divided_by_the_temperatures_before_they_are_combined(runs):
    found = ask(runs, temperatures=[2.0, 0.5], weigh_by="entropy", with_student=student())
    log_p = predictions(*networks(runs), student(), temperatures=(2.0, 0.5, 1.0))
    assert_close(found.combined.log_p, extension(log_p, by_entropy(log_p), 0.0).log_p)


def test_without_runs_the_network_as_it_was_is_the_only_teacher():
    net, panel = student(), Panel()
    panel.prepare(net)
    before = net(X)[1].log_softmax(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 1
    assert_close(panel([X]).combined.log_p, before)
    assert panel.state_dict()  # it can't be read again from anywhere


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"combine": "vote"}, "combine='vote': expected one of union, intersection, extension"),
        ({"weigh_by": "size"}, "weigh_by='size': expected one of uniform, entropy"),
        ({"combine": "union", "weigh_by": "entropy"}, "weigh_by=entropy is of the mean, but combine=union"),
        ({"threshold": 1.5}, "threshold must lie in"),
        ({"runs": ["a", "a"]}, "names a teacher more than once: a, a"),
        ({"runs": ["a", "b"], "temperatures": [1.0]}, r"temperatures=\[1.0\]: expected 2 positive numbers"),
        ({"temperatures": [0.0]}, "expected 1 positive numbers"),
    ],
)
def test_options_are_checked_at_construction(options, message):
    with pytest.raises(ValueError, match=message):
        Panel(**options)


def test_a_teacher_without_batch_norm_has_no_similarity_and_is_named(runs, tmp_path):
    plain = write_run(tmp_path / "plain", *TOY)
    with pytest.raises(ValueError, match="weigh_by=similarity with the teacher .*plain: it has no batch norm"):
        ask([runs[0], plain], weigh_by="similarity")


def test_they_are_asked_only_when_they_are_there():
    with pytest.raises(ValueError, match="before prepare"):
        Panel(["somewhere"])([X])
