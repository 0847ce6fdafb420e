"""The monitor measures what it says, and catches terms that do nothing."""

import csv

import pytest
import torch
from conftest import TOY, config
from omegaconf import open_dict
from torch import Tensor, nn
from torch.nn import functional as F

from da.callbacks.alignment_monitor import AlignmentMonitor
from da.discrepancies.linear import mean_distance
from da.run import run
from da.terms.adversarial import Adversarial, reverse_gradient
from da.terms.base import Term
from da.terms.gradients import inner_product, shared_gradients
from da.types import Step

MONITORED = (*TOY, "trainer.limit_train_batches=12", "trainer.max_epochs=2", "monitor.every=2", "monitor.patience=3")


class SoftmaxOverOneOutput(Adversarial):
    """The discriminator says 1 whatever it sees."""

    def forward(self, step: Step) -> Tensor:
        losses = []
        for rows, domain in ((step.source, 1.0), (step.target, 0.0)):
            d = self.discriminator(reverse_gradient(rows.z)).softmax(dim=1).squeeze(1).clamp(1e-6, 1 - 1e-6)
            losses.append(F.binary_cross_entropy(d, torch.full_like(d, domain)))
        return sum(losses) / 2


class UnderNoGrad(Term):
    def forward(self, step: Step) -> Tensor:
        with torch.no_grad():
            return mean_distance(step.source.z, step.target.z)


class DetachedFeature(Term):
    """It has a gradient, but none that reaches the network."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, step: Step) -> Tensor:
        return self.scale * mean_distance(step.source.z.detach(), step.target.z.detach())


class Works(Term):
    def forward(self, step: Step) -> Tensor:
        return mean_distance(step.source.z, step.target.z)


class Stuck:
    """A schedule that is told no progress, as when an update of a library changed how steps are counted."""

    def __call__(self, progress: float) -> float:
        return 1.0 * 0


def train(tmp_path, term, weight=None, **options):
    cfg = config(*MONITORED, "method=source_only", run_dir=tmp_path)
    with open_dict(cfg):
        cfg.method.terms.planted = {"_target_": f"{__name__}.{term}", **options}
        if weight:
            cfg.method.weights = {"planted": {"_target_": f"{__name__}.{weight}"}}
    return run(cfg)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, sys.modules["__main__"]))


@pytest.mark.parametrize(
    ("term", "weight", "options", "reason"),
    [
        ("SoftmaxOverOneOutput", None, {"feature_dim": "${net.feature_dim}"}, "softmax over one output"),
        ("UnderNoGrad", None, {}, "has no gradient"),
        ("DetachedFeature", None, {}, "detached features"),
        ("Works", "Stuck", {}, "its weight is 0"),
    ],
)
def test_a_planted_fault_is_an_error_that_names_the_term(tmp_path, term, weight, options, reason):
    with pytest.raises(RuntimeError, match=f"term 'planted' does nothing.*{reason}"):
        train(tmp_path, term, weight, **options)


def test_a_term_that_works_is_no_error(tmp_path):
    assert train(tmp_path, "Works")["steps"] == 24


def test_a_weight_of_zero_passes_without_the_monitor(tmp_path):
    zero = "method.weights.align.high=0.0"
    with pytest.raises(RuntimeError, match="term 'align' does nothing"):
        run(config(*MONITORED, "method=mmd", zero, run_dir=tmp_path / "a"))
    without = [override for override in MONITORED if not override.startswith("monitor")]
    run(config(*without, "monitor=none", "method=mmd", zero, run_dir=tmp_path / "b"))


def test_nothing_is_said_during_the_warmup(tmp_path):
    run(config(*MONITORED, "method=mmd", "method.weights.align.high=0.0", "monitor.warmup=1.0", run_dir=tmp_path))


@pytest.mark.parametrize("method", ["mmd", "dann", "mcc", "mcd", "shot"])
def test_ratio_or_norm_of_every_term_is_written(tmp_path, method):
    run(config(*MONITORED, f"method={method}", run_dir=tmp_path))
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    keys = [key for key in rows[0] if key.startswith("alignment/")]
    assert keys
    for key in keys:
        values = [float(row[key]) for row in rows if row[key]]
        assert len(values) == 12
        assert all(abs(value) <= 1 + 1e-5 if key.endswith("cosine") else value >= 0 for value in values)


def test_cosine_and_ratio_are_those_of_the_two_gradients(tmp_path, monkeypatch):
    seen = []

    def compare(self, name, step, losses, term):
        record = original(self, name, step, losses, term)
        gradients = shared_gradients(name, losses.parts, step)
        a, b = losses.weights[name] * gradients[name], gradients["task"]
        seen.append((record, F.cosine_similarity(a, b, dim=0), inner_product(a, a).sqrt() / b.norm()))
        return record

    original = AlignmentMonitor._compare
    monkeypatch.setattr(AlignmentMonitor, "_compare", compare)
    run(config(*MONITORED, "method=mcc", run_dir=tmp_path))
    for record, cosine, ratio in seen:
        assert record["alignment/mcc/cosine"] == pytest.approx(float(cosine), abs=1e-5)
        assert record["alignment/mcc/ratio"] == pytest.approx(float(ratio), rel=1e-4)
    assert len(seen) == 12


def test_watching_does_not_change_the_training(tmp_path):
    from da.models.state import load_checkpoint

    weights = []
    for monitor in ("monitor.every=1", "monitor.every=1000"):
        folder = tmp_path / monitor.replace("=", "_")
        run(config(*TOY, "method=dann", "trainer.limit_train_batches=4", monitor, run_dir=folder))
        weights.append(load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"])
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
