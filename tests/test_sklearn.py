"""The estimator: scikit-learn's own checks, what it trains, and that it leaves no trace."""

import copy
import os
import pickle
import random
import warnings

import numpy as np
import pytest
import torch
from conftest import config
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from da.build import build
from da.compose import config_dir
from da.data.samplers import StreamSampler
from da.sklearn import AdaptationClassifier

NO_TARGET = "ignore:no target rows"
QUICK = {"epochs": 3, "batch_size": 16}


@parametrize_with_checks([AdaptationClassifier(epochs=5, learning_rate=0.1)])
@pytest.mark.filterwarnings(NO_TARGET)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def clouds(n=40, shift=1.5):
    """Two classes at (-1, 0) and (1, 0) in the source; in the target both are moved by `shift` along both axes."""
    rng = np.random.default_rng(0)
    y = np.arange(2 * n) % 2
    x = rng.normal(scale=0.2, size=(2 * n, 2)) + np.stack([2.0 * y - 1, np.zeros(2 * n)], axis=1)
    domain = np.repeat([1, -1], n)
    x[domain < 0] += shift
    return x.astype(np.float32), y, domain


def weights(classifier):
    return torch.cat([part.flatten() for part in classifier.network_.state_dict().values()])


def same(a, b):
    return torch.equal(weights(a), weights(b))


def test_source_only_is_plain_gradient_descent_on_batches_of_the_source():
    x, y, domain = clouds()
    options = ("optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0")
    fitted = AdaptationClassifier(
        "source_only", epochs=2, batch_size=16, learning_rate=0.1, overrides=options, random_state=5
    ).fit(x, y, domain)

    torch.manual_seed(5)
    net = build(config("data=toy", "net=mlp", "method=source_only").net, "net")
    source_x, source_y = torch.tensor(x[domain > 0]), torch.tensor(y[domain > 0])
    sampler = StreamSampler(len(source_x), 16, 2, 5, "source")
    for t in range(4):
        sampler.set_epoch(t // 2)
        rows = list(sampler)[t % 2].rows
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(source_x[rows])[1], source_y[rows]).backward()
        rate = 0.1 * (1 + 10 * t / 3) ** -0.75  # conf/schedule/inverse_decay
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= rate * parameter.grad
    torch.testing.assert_close(fitted.network_.state_dict(), net.state_dict())


def test_with_lambda_0_nothing_but_the_source_matters():
    x, y, domain = clouds()
    options = ("net.batch_norm=separate",)
    a = AdaptationClassifier("mmd", weight=0.0, overrides=options, **QUICK).fit(x, y, domain)
    b = AdaptationClassifier("source_only", overrides=options, **QUICK).fit(x, y, domain)
    c = AdaptationClassifier("mmd", weight=1.0, overrides=options, **QUICK).fit(x, y, domain)
    assert same(a, b)
    assert not same(a, c)


def test_lambda_of_one_term_is_set_wherever_its_schedule_ends():
    x, y, domain = clouds()
    for method, key in (("mmd", "high"), ("mcc", "value"), ("mcd", "value")):
        fitted = AdaptationClassifier(method, weight=0.25, **QUICK).fit(x, y, domain)
        (schedule,) = fitted.config_["method"]["weights"].values()
        assert schedule[key] == 0.25


def test_labels_of_target_rows_are_ignored_whatever_they_are():
    x, y, domain = clouds()
    y = y.astype(float)
    masked, flipped, unknown = (np.where(domain > 0, y, other) for other in (-1, 1 - y, np.nan))
    a, b, c = (AdaptationClassifier("mcc", **QUICK).fit(x, labels, domain) for labels in (masked, flipped, unknown))
    assert same(a, b)
    assert same(a, c)
    assert a.classes_.tolist() == [0, 1]


def test_x_target_is_another_way_to_say_sample_domain():
    x, y, domain = clouds()
    a = AdaptationClassifier(**QUICK).fit(x, y, domain)
    b = AdaptationClassifier(**QUICK).fit(x[domain > 0], y[domain > 0], X_target=x[domain < 0])
    assert same(a, b)


def test_adaptation_reaches_a_target_that_the_source_alone_does_not():
    """What is invariant, x_1 - x_2, tells the classes apart; the source alone has no reason to look at it."""
    x, y, domain = clouds(100)
    target = domain < 0
    for method, expected in (("source_only", 0.5), ("mmd", 1.0)):
        fitted = AdaptationClassifier(method, epochs=20, learning_rate=0.05).fit(x, y, domain)
        assert fitted.score(x[target], y[target]) == pytest.approx(expected, abs=0.05)


def test_several_sources_and_names_as_labels():
    x, y, domain = clouds()
    domain = np.where(domain > 0, 1 + np.arange(len(y)) // 20, domain)
    names = np.array(["cat", "dog"])[y]
    fitted = AdaptationClassifier("dann", **QUICK).fit(x, names, domain)
    assert fitted.classes_.tolist() == ["cat", "dog"]
    assert set(fitted.predict(x)) <= {"cat", "dog"}
    assert np.allclose(fitted.predict_proba(x).sum(axis=1), 1)


def test_a_source_free_method_has_its_source_stage():
    x, y, domain = clouds()
    fitted = AdaptationClassifier("shot", epochs=10, learning_rate=0.1).fit(x, y, domain)
    assert fitted.score(x[domain > 0], y[domain > 0]) > 0.9  # the stage that saw labels


@pytest.mark.parametrize(("net", "shape"), [("lenet", (1, 28, 28)), ("cnn1d", (3, 40))], ids=["images", "series"])
def test_x_may_be_images_or_series_where_the_net_says_so(net, shape):
    x = np.random.default_rng(0).normal(size=(24, *shape))
    y, domain = np.arange(24) % 2, np.repeat([1, -1], 12)
    fitted = AdaptationClassifier(net=net, epochs=1, batch_size=6).fit(x, y, domain)
    assert fitted.predict_proba(x).shape == (24, 2)
    assert fitted.feature_shape_ == shape
    with pytest.raises(ValueError, match="rows of shape"):
        fitted.predict(x[..., 1:])


def test_a_grid_search_over_method_and_lambda_inside_a_pipeline():
    x, y, domain = clouds()
    pipeline = make_pipeline(StandardScaler(), AdaptationClassifier(epochs=10, batch_size=16, learning_rate=0.1))
    grid = {"adaptationclassifier__method": ["coral", "mmd"], "adaptationclassifier__weight": [0.1, 1.0]}
    fold = np.where(domain > 0, np.arange(len(y)) // 2 % 2, -1)  # held out: source rows, in turn
    search = GridSearchCV(pipeline, grid, cv=PredefinedSplit(fold), error_score="raise")
    search.fit(100 * x, np.where(domain > 0, y, -1), adaptationclassifier__sample_domain=domain)
    assert set(search.best_params_) == set(grid)
    assert search.best_score_ > 0.9
    assert search.predict(100 * x).shape == y.shape


def test_options_may_ask_for_what_is_worked_out():
    """As they do outside of these tests, where nothing has made the resolvers known."""
    OmegaConf.clear_resolver("da.precision")
    x, y, domain = clouds()
    fitted = AdaptationClassifier(overrides=("precision=auto",), **QUICK).fit(x, y, domain)
    assert torch.equal(weights(fitted), weights(AdaptationClassifier(**QUICK).fit(x, y, domain)))


def test_it_is_pickled_copied_and_cloned():
    x, y, domain = clouds()
    fitted = AdaptationClassifier(overrides=("net.normalised_head=true",), **QUICK).fit(x, y, domain)
    for twin in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert np.array_equal(twin.predict_proba(x), fitted.predict_proba(x))
    with pytest.raises(NotFittedError):
        clone(fitted).predict(x)


def test_the_seed_decides_and_nothing_else_does():
    x, y, domain = clouds()
    a, b = (AdaptationClassifier(random_state=1, **QUICK).fit(x, y, domain) for _ in range(2))
    c = AdaptationClassifier(random_state=2, **QUICK).fit(x, y, domain)
    assert same(a, b)
    assert not same(a, c)
    state = np.random.RandomState(0)
    d, e = (AdaptationClassifier(random_state=state, **QUICK).fit(x, y, domain) for _ in range(2))
    assert not same(d, e)


def process_state():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        list(warnings.filters),
        dict(os.environ),
        GlobalHydra.instance().hydra,
    )


def test_it_writes_nothing_and_leaves_the_process_as_it_was(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    x, y, domain = clouds()
    with initialize_config_dir(config_dir(), version_base="1.3"):
        before = process_state()
        AdaptationClassifier("dann", **QUICK).fit(x, y, domain).predict(x)
        assert process_state() == before
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_without_a_target_it_warns_and_trains_on_the_source():
    x, y, _ = clouds()
    plain = AdaptationClassifier("source_only", **QUICK).fit(x, y)
    with pytest.warns(UserWarning, match="no target rows: trained on the source alone, without method=shot"):
        assert same(plain, AdaptationClassifier("shot", **QUICK).fit(x, y))
    with pytest.warns(UserWarning, match="no target rows"):
        AdaptationClassifier("coral", **QUICK).fit(x, y, sample_domain=np.ones(len(y), dtype=int))


@pytest.mark.parametrize(
    ("parameters", "fit", "message"),
    [
        ({"epochs": 0}, {}, "epochs=0 must be at least 1"),
        ({"batch_size": 0}, {}, "batch_size=0 must be at least 1"),
        ({"device": "tpu"}, {}, "device='tpu': expected auto, cpu or cuda"),
        ({"method": "shot", "weight": 1.0}, {}, "has the weights diversity, entropy, pseudo; weight=None leaves"),
        ({"method": "source_only", "weight": 1.0}, {}, "method=source_only has no weight"),
        ({"net": "lenet"}, {}, "net=lenet can't read the rows of data=arrays"),
        ({"method": "finetune"}, {}, "has streams ['source', 'target'], the method needs ['labeled'] too"),
        ({}, {"sample_domain": np.zeros(80, dtype=int)}, "positive for the rows of a source"),
        ({}, {"sample_domain": np.ones(80)}, "sample_domain must be integers"),
        ({}, {"sample_domain": -np.ones(80, dtype=int)}, "no source rows to learn from"),
        ({}, {"sample_domain": np.ones(3, dtype=int)}, "sample_domain has 3 entries, but X has 80 rows"),
        ({}, {"X_target": np.ones((5, 2)), "sample_domain": np.ones(80, dtype=int)}, "not both"),
        ({}, {"X_target": np.ones((5, 3))}, "X has 3 features, but AdaptationClassifier is expecting 2"),
        ({}, {"y": np.zeros(80)}, "one class only"),
    ],
)
def test_what_is_wrong_is_named(parameters, fit, message):
    x, y, domain = clouds()
    arguments = {"X": x, "y": y, **({} if fit.keys() & {"X_target", "sample_domain"} else {"sample_domain": domain})}
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # the message is compared below
        AdaptationClassifier(**parameters).fit(**{**arguments, **fit})
    assert message in str(raised.value)
