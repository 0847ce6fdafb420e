"""`da rank`: what the scores are computed from, what a ranking says, and what it refuses."""

import csv
import json
import math
import re
import shlex

import numpy as np
import pytest
import torch
from conftest import CONF, TOY, call, config, everything, normal
from photos import write_domain
from safetensors.torch import save_file
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torchvision import models

from da.assemble import assemble
from da.features import features
from da.rank.candidates import Candidate, Evidence, compose_candidates, labelled_rows, score, score_candidate
from da.rank.scores import LABEL_FREE, WITH_LABELS, default_score, oriented
from da.rank.table import agreement
from da.report.statistics import Interval
from da.run import run
from da.transfer.agreement import weighted_tau
from da.transfer.probes import proxy_a_distance

C, D = 3, 6


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.delenv("DA_DATA_ROOT", raising=False)
    monkeypatch.setenv("DA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rank(tmp_path, capsys):
    """Run `da rank`; return what it printed and the rows of its csv file, best first."""

    def run_rank(*words):
        capsys.readouterr()
        assert call("rank", *words, "--out", tmp_path / "rank.csv") == 0, capsys.readouterr().err
        return capsys.readouterr().out, list(csv.DictReader((tmp_path / "rank.csv").read_text().splitlines()))

    return run_rank


def clouds(shift, seed, n=90, apart=4.0):
    """Rows of three classes whose means lie `apart`, all moved by `shift`."""
    y = np.arange(n) % C
    x = normal(n, D, seed=seed).numpy() + shift
    x[np.arange(n), y] += apart
    return x.astype(np.float32), y


ARRAYS = ("data=tensors", "net=mlp", "data.standardise=none", "data.target=target.npz")


@pytest.fixture
def arrays():
    """A source near the target, one far from it, and one that is near but whose classes are mixed up."""
    for name, shift, seed in (("near", 0.1, 1), ("far", 4.0, 2), ("mixed", 0.1, 3), ("target", 0.0, 4)):
        x, y = clouds(shift, seed)
        np.savez(f"{name}.npz", x=x, y=np.random.default_rng(0).permutation(y) if name == "mixed" else y)
    return ARRAYS


# Which is best


def test_the_source_that_is_nearest_comes_first_without_labels_and_the_one_that_knows_the_classes_with_them(
    arrays, rank
):
    sources = "data.source=far.npz,mixed.npz,near.npz"
    out, rows = rank(*arrays, sources)
    assert rows[-1]["candidate"] == "data.source=far.npz"
    assert "best first by a_distance (smaller is better)" in out
    out, rows = rank(*arrays, sources, "--target-labels", "few")
    assert rows[0]["candidate"] == "data.source=near.npz"
    assert rows[-1]["candidate"] == "data.source=mixed.npz"
    assert "best first by leep_source (larger is better)" in out
    for name in WITH_LABELS[:7]:  # of the target's features only
        assert len({row[name] for row in rows}) == 1
    out, rows = rank(*arrays, sources, "--target-labels", "few", "--by", "log_me")
    assert "some have the same log_me" in out


def test_the_network_whose_features_tell_the_classes_comes_first(arrays, rank):
    """A network of one narrow layer loses what a wide one keeps."""
    out, rows = rank(*arrays, "data.source=near.npz", "net.feature_dim=1,64", "--target-labels", "all")
    assert [row["candidate"] for row in rows] == ["net.feature_dim=64", "net.feature_dim=1"]
    assert "best first by log_me (larger is better), an ORACLE" in out
    assert "ORACLE: all target labels were read" in out


def test_what_is_ranked_by_where_nothing_is_said():
    assert default_score("none", "ab") == "a_distance"
    assert default_score("few", "aa") == "log_me"
    assert default_score("all", "ab") == "leep_source"


# Labels


def test_without_the_flag_target_labels_change_nothing(arrays, rank):
    words = (*arrays, "data.source=near.npz,far.npz")

    def numbers():
        _, rows = rank(*words)
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    first = numbers()
    x, y = clouds(0.0, 4)
    np.savez("target.npz", x=x, y=np.random.default_rng(1).permutation(y))
    assert numbers() == first
    np.savez("target.npz", x=x)
    assert numbers() == first
    assert not set(first[0]) & set(WITH_LABELS)


def test_few_labels_are_those_of_the_stream_labeled_and_no_others_are_scored_with(arrays, monkeypatch):
    (candidate,) = compose_candidates([*arrays, "data.source=near.npz", "data.labels_per_class=6", "seed=5"])
    data, _ = assemble(candidate.cfg)
    shown, seen = everything(data.train_set("labeled")), []
    assert torch.equal(everything(data.domain("target").train).x[labelled_rows(data, "few", most=1)], shown.x)
    monkeypatch.setattr("da.rank.candidates.score", lambda evidence, found: seen.append(evidence))
    score_candidate(candidate, "few", 100)
    (evidence,) = seen
    assert torch.equal(evidence.y, shown.y)
    assert evidence.y.bincount().tolist() == [6, 6, 6]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        _, net = assemble(candidate.cfg)
    with torch.no_grad():
        torch.testing.assert_close(evidence.z, net.eval().backbone(shown.x))


def test_all_labels_are_read_with_the_flag(arrays, rank):
    words = (*arrays, "data.source=near.npz", "--target-labels", "all")
    _, (first,) = rank(*words)
    x, y = clouds(0.0, 4)
    np.savez("target.npz", x=x, y=np.random.default_rng(1).permutation(y))
    _, (mixed,) = rank(*words)
    for name in WITH_LABELS[:-2]:
        assert float(mixed[name]) < float(first[name]), name
    for name in LABEL_FREE:
        assert mixed[name] == first[name]


# The numbers


def leep_of_the_paper(p, y):
    """Nguyen et al. 2020, equations 1 and 2, in loops."""
    n, total = len(y), 0.0
    for i in range(n):
        expected = 0.0
        for z in range(p.shape[1]):
            joint = sum(float(p[j, z]) for j in range(n) if y[j] == y[i]) / n
            expected += joint / (sum(float(p[j, z]) for j in range(n)) / n) * float(p[i, z])
        total += math.log(expected)
    return total / n


def nce_of_the_paper(z, y):
    """-H(Y | Z) of the empirical joint distribution, in loops."""
    n, total = len(y), 0.0
    for a, b in zip(z.tolist(), y.tolist(), strict=True):
        both = sum(1 for k in range(n) if (int(z[k]), int(y[k])) == (a, b))
        total += math.log(both / int((z == a).sum()))
    return total / n


def test_leep_and_nce_by_hand():
    """Four rows; a classifier of the pretraining is certain that three of them are its first class, one its second."""
    y = torch.tensor([0, 0, 1, 1])
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = Candidate("", config(*TOY), "", "", "", "")
    score(Evidence(normal(20, 2), torch.arange(20) % 2, normal(20, 2, seed=1), normal(4, 2, seed=2), y, p), found)
    # P(0 | z=0) = 2/3, P(1 | z=0) = 1/3, P(1 | z=1) = 1: the mean log of 2/3, 2/3, 1/3, 1.
    by_hand = (2 * math.log(2 / 3) + math.log(1 / 3)) / 4
    assert found.scores["leep_pretrained"] == pytest.approx(by_hand, rel=1e-9)
    assert found.scores["nce_pretrained"] == pytest.approx(by_hand, rel=1e-9)  # of certain predictions the same


def test_leep_and_nce_from_the_files_to_the_table(arrays, rank):
    """The classifier of the source is a logistic regression on its standardised features; all else is the papers'."""
    _, (row,) = rank(*arrays, "data.source=mixed.npz", "--target-labels", "all", "seed=3")
    cfg = config(*arrays, "data.source=mixed.npz", "seed=3")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        data, net = assemble(cfg)
    source, target = features(data, net, "source"), features(data, net, "target", labels=True)
    scaler = StandardScaler().fit(source.backbone.double().numpy())
    classifier = LogisticRegression(max_iter=1000, class_weight="balanced")
    classifier.fit(scaler.transform(source.backbone.double().numpy()), source.y.numpy())
    p = torch.from_numpy(classifier.predict_proba(scaler.transform(target.backbone.double().numpy())))
    assert float(row["leep_source"]) == pytest.approx(leep_of_the_paper(p, target.y), rel=1e-6)
    assert float(row["nce_source"]) == pytest.approx(nce_of_the_paper(p.argmax(dim=1), target.y), rel=1e-6)
    assert float(row["confidence"]) == pytest.approx(float(p.max(dim=1).values.mean()), rel=1e-6)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two domains of image files, and the weights of an ImageNet classifier."""
    for seed, name in enumerate(("shop", "street")):
        write_domain(tmp_path / name, {"cup": 8, "mug": 8}, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.squeezenet1_1().eval()
    with torch.no_grad():
        model.classifier[1].weight.mul_(30)  # so that it says something
    save_file(model.state_dict(), tmp_path / "mine.safetensors")
    return model


PHOTOS = (
    *("data=folder", "data.source=shop", "data.target=street", "data.val_fraction=0", "data.labels_per_class=6"),
    *("net=torchvision", "net.backbone.name=squeezenet1_1", "net.input.size=64", "net.backbone.weights=mine"),
)


@pytest.mark.parametrize("labels", ["few", "all"])
def test_leep_of_the_pretraining_asks_the_whole_classifier(photos, labels, rank, tmp_path):
    _, (row,) = rank(*PHOTOS, "--target-labels", labels)
    data, _ = assemble(config(*PHOTOS))
    rows = data.domain("target").val
    if labels == "few":
        order = labelled_rows(data, "few", 100)
        assert len(order) == 12
    shown = everything(rows)
    x, y = (shown.x, shown.y) if labels == "all" else (shown.x[order], shown.y[order])
    with torch.no_grad():
        p = photos(x).softmax(dim=1).double()
    assert p.shape[1] == 1000
    assert float(row["leep_pretrained"]) == pytest.approx(leep_of_the_paper(p[:, p.sum(dim=0) > 0], y), rel=1e-4)
    assert float(row["nce_pretrained"]) == pytest.approx(nce_of_the_paper(p.argmax(dim=1), y), rel=1e-6)
    assert list((tmp_path / "cache").glob("features-*.bin"))  # the frozen backbone's


def test_a_cached_ranking_is_the_one_without_a_cache(photos, rank, tmp_path):
    words = (*PHOTOS, "--target-labels", "all")
    _, (direct,) = rank(*words, "data.cache_features=false")
    assert not list((tmp_path / "cache").glob("features-*"))
    for _ in range(2):
        _, (cached,) = rank(*words)
        for name in (*LABEL_FREE, *WITH_LABELS):
            if direct[name]:
                assert float(cached[name]) == pytest.approx(float(direct[name]), rel=1e-3, abs=1e-6), name


def test_a_network_without_classes_of_a_pretraining_has_no_leep_of_them_and_says_so(arrays, rank, photos):
    out, (row,) = rank(*arrays, "data.source=near.npz", "--target-labels", "few")
    assert row["leep_pretrained"] == row["nce_pretrained"] == ""
    assert "no leep_pretrained, nce_pretrained of 1: net=mlp has no classifier from a pretraining" in out
    headless = {k: v for k, v in photos.state_dict().items() if not k.startswith("classifier")}
    save_file({k: v.contiguous() for k, v in headless.items()}, "headless.safetensors")
    # torchvision's files hold all of the classifier: a backbone alone is refused by `da train` too
    assert call("rank", *PHOTOS[:-1], "net.backbone.weights=headless") == 1


def test_weights_of_a_run_are_ranked_as_they_are_and_their_own_classes_are_those_of_the_pretraining(rank, tmp_path):
    words = ("data=toy", "net=mlp", "data.num_rows=200", "figures=none")
    run(config(*words, "method=source_only", "trainer.max_epochs=1", run_dir=tmp_path / "run"))
    checkpoint = tmp_path / "run/checkpoints/last.ckpt"
    _, rows = rank(*words, f"init_from=null,{checkpoint}", "--target-labels", "all", "--by", "leep_source")
    trained = next(row for row in rows if "last.ckpt" in row["candidate"])
    start = next(row for row in rows if "null" in row["candidate"])
    assert float(trained["log_me"]) != float(start["log_me"])
    assert start["leep_pretrained"] == ""
    (candidate,) = compose_candidates([*words, f"init_from={checkpoint}"])
    data, net = assemble(candidate.cfg)
    shown = features(data, net, "target", labels=True)
    expected = leep_of_the_paper(shown.logits.softmax(dim=1).double(), shown.y)
    assert float(trained["leep_pretrained"]) == pytest.approx(expected, rel=1e-5)


def test_domains_with_classes_of_their_own_are_ranked_too(rank):
    """Three classes in the source, five others in the target."""
    x, y = clouds(0.0, 1)
    np.savez("a.npz", x=x, y=np.array(["p", "q", "r"])[y])
    np.savez("b.npz", x=x, y=np.array(list("vwxyz"))[np.arange(len(x)) % 5])
    words = ("data=tensors", "net=mlp", "data.source=a.npz", "data.target=b.npz", "data.label_sets=separate")
    _, (row,) = rank(*words, "data.labels_per_class=6", "--target-labels", "few")
    for name in WITH_LABELS[:-2]:
        assert math.isfinite(float(row[name])), name


def test_the_a_distance_and_its_interval_are_those_of_the_features(arrays, rank):
    _, (row,) = rank(*arrays, "data.source=near.npz", "--rows", "50")
    (candidate,) = compose_candidates([*arrays, "data.source=near.npz"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        data, net = assemble(candidate.cfg)
    z_s, z_t = (features(data, net, role, most=50).backbone for role in ("source", "target"))
    assert len(z_s) == len(z_t) == 50
    found = tuple(float(row[f"a_distance{end}"]) for end in ("", "_low", "_high"))
    assert found == pytest.approx(proxy_a_distance(z_s, z_t))
    assert row["rows"] == "100"


def test_too_few_rows_leave_a_dash_and_a_reason(arrays, rank):
    out, (row,) = rank(*arrays, "data.source=near.npz", "data.labels_per_class=1", "--target-labels", "few")
    assert row["gbc"] == row["knn"] == row["linear_probe"] == ""
    assert float(row["log_me"])
    for reason in (
        "no gbc of 1: gbc needs two rows of every class",
        "no knn of 1: k=5 must be",
        "no linear_probe of 1: 5",
    ):
        assert reason in out
    assert [line.split() for line in out.splitlines() if line.startswith("gbc ")] == [["gbc", "-"]]


# What is printed


def test_the_csv_is_what_is_printed(arrays, rank):
    out, rows = rank(*arrays, "data.source=near.npz,far.npz", "--target-labels", "few")
    lines = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split()}
    for name in (*LABEL_FREE, *WITH_LABELS):
        assert lines[name] == [f"{float(row[name]):.4g}" if row[name] else "-" for row in rows], name
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert [row["source"] for row in rows] == ["near", "far"]
    assert lines["1"][0] == "data.source=near.npz"
    assert {row["target_labels"] for row in rows} == {"few"}


def test_one_candidate_is_ranked_and_that_is_said(rank):
    out, rows = rank(*TOY, "data.num_rows=100")
    assert len(rows) == 1
    assert "one candidate: there is nothing to choose between" in out
    assert "no target label was read" in out


def test_every_score_that_is_named_is_computed():
    (candidate,) = compose_candidates([*TOY, "data.num_rows=100"])
    score_candidate(candidate, "all", 100)
    assert {*candidate.scores, *candidate.missing} == {*LABEL_FREE, *WITH_LABELS}


# Agreement with what training gave


def test_weighted_tau_by_hand():
    """Four candidates, of which the score exchanges the two worst, or the two best."""
    accuracies = [0.9, 0.8, 0.7, 0.6]
    pairs = {(a, b): 1 / (a + 1) + 1 / (b + 1) for a in range(4) for b in range(a + 1, 4)}
    total = sum(pairs.values())
    # The ranks are those by accuracy, and those by score: in both the exchanged pair has the same two ranks.
    for scores, wrong in (([4.0, 3.0, 1.0, 2.0], (2, 3)), ([3.0, 4.0, 2.0, 1.0], (0, 1))):
        assert weighted_tau(scores, accuracies) == pytest.approx((total - 2 * pairs[wrong]) / total)
    assert weighted_tau([4.0, 3.0, 1.0, 2.0], accuracies) > weighted_tau([3.0, 4.0, 2.0, 1.0], accuracies)
    assert weighted_tau(accuracies, accuracies) == pytest.approx(1)
    assert weighted_tau([-a for a in accuracies], accuracies) == pytest.approx(-1)


def test_there_is_no_tau_of_two_candidates_nor_of_one_number():
    assert weighted_tau([1.0, 2.0], [0.1, 0.2]) is None
    assert weighted_tau([1.0, 1.0, 1.0], [0.1, 0.2, 0.3]) is None
    with pytest.raises(ValueError, match="3 scores of 2 accuracies"):
        weighted_tau([1.0, 1.0, 1.0], [0.1, 0.2])


def test_a_score_of_which_smaller_is_better_is_turned():
    cfg = config(*TOY)
    candidates = [Candidate(str(i), cfg, "", "", "", "", {"a_distance": i, "knn": i}) for i in range(4)]
    accuracies = {str(i): Interval(0.9 - i / 10, None, 1) for i in range(4)}
    assert agreement("a_distance", candidates, accuracies) == (pytest.approx(1), 4)
    assert agreement("knn", candidates, accuracies) == (pytest.approx(-1), 4)
    assert oriented("mmd", 2.0) == -2
    assert agreement("gbc", candidates, accuracies) == (None, 0)


def write_run(folder, seed, accuracy, **changes):
    identity = {"method": "source_only", "data": "tensors", "net": "mlp", "source": "near", "target": "target"}
    content = {
        **{"schema": "da.results/1", "status": "complete", "seed": seed, "config_hash": "0", "target_labels": []},
        **{"test": {"target_acc": {"last": accuracy}}, **identity, **changes},
    }
    (folder / f"{len(list(folder.glob('*')))}").mkdir(parents=True)
    (sorted(folder.glob("*"))[-1] / "results.json").write_text(json.dumps(content))


@pytest.fixture
def runs(tmp_path):
    """Two seeds of three sources: the nearest did best."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for source, accuracy in (("near", 0.9), ("far", 0.4), ("mixed", 0.3)):
        for seed in (0, 1):
            write_run(folder, seed, accuracy + seed / 50, source=source)
    return folder


SOURCES = "data.source=near.npz,far.npz,mixed.npz"


def test_scores_are_compared_with_the_accuracies_of_finished_runs(arrays, rank, runs):
    out, rows = rank(*arrays, SOURCES, "--target-labels", "few", "--by", "leep_source", "--runs", runs)
    by_source = {row["source"]: row for row in rows}
    assert float(by_source["near"]["accuracy"]) == pytest.approx(0.91)
    assert {(row["seeds"], row["method"]) for row in rows} == {("2", "source_only")}
    (line,) = [line.split() for line in out.splitlines() if line.startswith("a_distance ")]
    values = [-float(by_source[name]["a_distance"]) for name in ("near", "far", "mixed")]
    assert line[-1] == f"{weighted_tau(values, [0.91, 0.41, 0.31]):.4g}"
    (same,) = [line.split() for line in out.splitlines() if line.startswith("log_me ")]
    assert same[-1] == "-"  # it is one number
    assert "with the target accuracy of source_only, n = 3" in out
    assert "91.0 ± 12.7" in out


def test_of_two_candidates_with_runs_there_is_no_tau(arrays, rank, runs):
    out, _ = rank(*arrays, "data.source=near.npz,far.npz", "--runs", runs)
    assert "n = 2; fewer than 3 candidates have no tau" in out
    (line,) = [line.split() for line in out.splitlines() if line.startswith("a_distance ")]
    assert line[-1] == "-"
    x, y = clouds(1.0, 9)
    np.savez("new.npz", x=x, y=y)
    out, _ = rank(*arrays, SOURCES + ",new.npz", "--runs", runs)
    assert "n = 3" in out
    assert "without runs of source_only: 1 of the candidates" in out


def test_runs_of_several_methods_are_told_apart_by_name(arrays, rank, runs, capsys):
    write_run(runs, 0, 0.5, method="dann")
    out, _ = rank(*arrays, SOURCES, "--runs", runs, "--method", "dann")
    assert "of dann, n = 1" in out
    assert call("rank", *arrays, SOURCES, "--runs", runs) == 1
    assert "the runs are of several methods: choose one by --method: dann, source_only" in capsys.readouterr().err
    assert call("rank", *arrays, SOURCES, "--runs", runs, "--method", "cdan") == 1
    assert "--method cdan: the runs are of dann, source_only" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config_hash": "1"}, "there are several runs of source_only from near with net=mlp and seed=0"),
        ({"status": "failed", "error": "x"}, None),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_are_not_averaged(arrays, runs, capsys, changes, said):
    write_run(runs, 0, 0.1, **changes)
    assert call("rank", *arrays, SOURCES, "--runs", runs) == (1 if said else 0)
    assert (said or "") in capsys.readouterr().err


def test_runs_that_are_no_candidates_are_refused(arrays, runs, capsys):
    assert call("rank", *arrays, SOURCES, "data.target=near.npz", "--runs", runs) == 1
    x, y = clouds(1.0, 9)
    np.savez("new.npz", x=x, y=y)
    capsys.readouterr()
    assert call("rank", *arrays, "data.source=new.npz", "--runs", runs) == 1
    err = capsys.readouterr().err
    assert "error: no run is of a candidate: the candidates are mlp tensors new→target, the runs of source_only" in err
    assert call("rank", *arrays, "data.source=near.npz", "seed=0,1", "--runs", runs) == 1
    assert "--runs tells candidates apart by net, data, source and target only" in capsys.readouterr().err


# What is refused


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "option=value"),
        (["nope=1"], 1, "nope"),
        (["net=mlpp,mlp", "data=toy"], 1, "Could not find 'net/mlpp'"),
        (["net=a,,b"], 1, "net=a,,b"),
        ([*TOY, "data.noise=0.1,x"], 1, "data.noise='x' is of type str, expected float"),
        ([*TOY, "--by", "best"], 2, "invalid choice: 'best'"),
        ([*TOY, "--by", "log_me"], 2, "--by log_me reads target labels: add --target-labels few, or all"),
        ([*TOY, "--out", "table.txt"], 2, "--out table.txt must end in .csv"),
        ([*TOY, "--out", "no/such/table.csv"], 1, "there is no folder no/such"),
        ([*TOY, "--rows", "0"], 2, "--rows 0 must be at least 1"),
        ([*TOY, "--method", "dann"], 2, "--method chooses among --runs"),
        ([*TOY, "--runs", "nowhere"], 1, "nowhere doesn't exist"),
        ([*TOY, "init_from=nowhere.ckpt"], 1, "no checkpoint at nowhere.ckpt"),
        (["data=tensors", "net=mlp"], 1, "Missing mandatory value: source"),
        (["data=tensors", "net=mlp", "data.source=a.npz", "data.target=b.npz"], 1, "a.npz"),
        ([*TOY, "data.rotation=10,20"], 1, "for one target, but these have moons rotated 10, moons rotated 20"),
        (
            [*TOY, "data.num_rows=4", "data.labels_per_class=3", "--target-labels", "few"],
            1,
            "class 0 has 2",
        ),
    ],
)
def test_bad_input_gives_one_line_that_names_it(words, status, said, capsys):
    assert call("rank", *words) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_target_without_labels_can_be_ranked_for_but_not_by_them(arrays, rank, capsys):
    x, _ = clouds(0.0, 4)
    np.savez("target.npz", x=x)
    rank(*arrays, "data.source=near.npz")
    for labels in ("few", "all"):
        assert call("rank", *arrays, "data.source=near.npz", "--target-labels", labels) == 1
        assert "the 0 labelled rows of the target 'target' have fewer than two classes" in capsys.readouterr().err


def test_more_separable_is_better_by_every_score_of_features():
    """On classes further and further apart all label scores rise."""
    y = torch.arange(120) % C
    by_name = {}
    for apart in (0.0, 1.0, 2.0, 4.0):
        z = normal(120, D)
        z[torch.arange(120), y] += apart
        found = Candidate("", config(*TOY), "", "", "", "")
        score(Evidence(z, y, z, z, y, "none"), found)
        for name, value in found.scores.items():
            by_name.setdefault(name, []).append(value)
    for name in (*WITH_LABELS[:-2], "source_probe", "confidence"):
        assert spearmanr(by_name[name], range(4)).statistic > 0.9, name


def test_every_command_of_the_page_composes():
    """And names one target; no file is opened."""
    page = (CONF.parent / "docs/pages/transfer/ranking.md").read_text()
    lines = [shlex.split(line)[2:] for line in page.splitlines() if line.startswith("da rank ")]
    assert len(lines) == 2
    for words in lines:
        assert len(compose_candidates([word for word in words if "=" in word])) > 2


def test_every_score_is_explained():
    page = (CONF.parent / "docs/pages/transfer/ranking.md").read_text()
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", page, flags=re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert {*LABEL_FREE, *WITH_LABELS} <= named
