"""Procedures, written naively from the papers: the trained weights must be equal."""

import copy
from itertools import islice

import pytest
import pytorch_lightning as pl
import torch
from conftest import TOY, config
from saved_runs import WIDE, write_run
from torch.nn import functional as F

from da.build import build
from da.methods.shot import cluster_labels
from da.models.saved import read_run, saved_network

LR, MOMENTUM, EPOCHS, BATCHES = 0.05, 0.9, 2, 5


def set_up(name, *overrides):
    torch.manual_seed(0)
    cfg = config(*TOY, f"method={name}", f"data.steps_per_epoch={BATCHES}", *overrides)
    data, net = build(cfg.data, "data"), build(cfg.net, "net")
    method = build(cfg.method, "method", net=net, optimizer=sgd)
    data.load(method.streams, method.evaluated)
    return data, method


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM)


def fit(method, data):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    trainer.fit(method, datamodule=data)


def epochs(data):
    """The batches of every epoch, as the trainer gets them."""
    for epoch in range(EPOCHS):
        loader = data.train_dataloader()
        for one in loader.iterables.values():
            one.sampler.set_epoch(epoch)
        yield [batch for batch, *_ in islice(iter(loader), BATCHES)]


def assert_equal_weights(a, b):
    for (name, p), q in zip(a.named_parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_mcd_equals_the_papers_three_steps():
    data, method = set_up("mcd")
    net, second = copy.deepcopy(method.net), copy.deepcopy(method.second_head)
    fit(method, data)

    features = sgd(net.backbone.parameters())
    heads = sgd([*net.head.parameters(), *second.parameters()])

    def task(x, y):
        z = net.backbone(x)
        return F.cross_entropy(net.head(z), y) + F.cross_entropy(second(z), y)

    def zero():
        features.zero_grad(), heads.zero_grad()

    for batches in epochs(data):
        for batch in batches:
            x_s, y_s, x_t = batch["source"].x, batch["source"].y, batch["target"].x
            zero()
            task(x_s, y_s).backward()
            features.step(), heads.step()
            zero()
            z_s, z_t = net.backbone(torch.cat([x_s, x_t])).split([len(x_s), len(x_t)])
            logits = net.head(torch.cat([z_s, z_t]))
            p_1, p_2 = logits[len(x_s) :].softmax(1), second(z_t).softmax(1)
            loss = F.cross_entropy(logits[: len(x_s)], y_s) + F.cross_entropy(second(z_s), y_s)
            (loss - (p_1 - p_2).abs().mean()).backward()
            heads.step()
            for _ in range(4):
                zero()
                z_t = net.backbone(x_t)
                (net.head(z_t).softmax(1) - second(z_t).softmax(1)).abs().mean().backward()
                features.step()
    assert_equal_weights(method.net, net)
    assert_equal_weights(method.second_head, second)


def naive_cluster_labels(z, p):
    """Equations 4 to 6 of the paper, one row and one class at a time."""

    def cosine(a, b):
        return float(a @ b / (a.norm() * b.norm()))

    rows, classes = range(len(z)), range(p.shape[1])
    unit = [row / row.norm() for row in z]
    weights = p
    for _ in range(2):
        centroids = {k: sum(weights[i, k] * unit[i] for i in rows) for k in classes if weights[:, k].sum() > 0}
        labels = [max(centroids, key=lambda k, i=i: cosine(unit[i], centroids[k])) for i in rows]
        weights = torch.tensor([[float(label == k) for k in classes] for label in labels], dtype=z.dtype)
    return torch.tensor(labels)


def test_shots_pseudo_labels_equal_the_papers_loops():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    p = (3 * torch.randn(40, 5, generator=generator, dtype=torch.float64)).softmax(1)
    p[:, 4] = 1e-9  # a class that no row gets in the first round
    assert torch.equal(cluster_labels(z, p), naive_cluster_labels(z, p))


def test_shot_equals_the_papers_algorithm():
    data, method = set_up("shot")
    net = copy.deepcopy(method.net)
    head_before = copy.deepcopy(net.head)
    fit(method, data)

    optimizer = sgd(net.backbone.parameters())
    x_all = data.domain("target").train.x
    for batches in epochs(data):
        with torch.no_grad():
            z, logits = net(x_all)
            labels = cluster_labels(z, logits.softmax(1))
        for batch in batches:
            rows = batch["target"]
            log_p = net(rows.x)[1].log_softmax(1)
            entropy = -(log_p.exp() * log_p).sum(1).mean()
            diversity = -torch.special.entr(log_p.exp().mean(0)).sum()
            pseudo = F.nll_loss(log_p, labels[rows.index])
            optimizer.zero_grad()
            (entropy + diversity + 0.1 * pseudo).backward()
            optimizer.step()
    for (name, p), q in zip(method.net.named_parameters(), net.parameters(), strict=True):
        # The entropy of the mean sums softmax(x) here and exp(log_softmax(x)) there: equal to rounding.
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    assert_equal_weights(method.net.head, head_before)


@pytest.mark.parametrize("combine", ["union", "intersection", "extension"])
def test_teachers_equal_a_loop_over_rows_and_teachers(tmp_path, combine):
    runs = [write_run(tmp_path / "a", *TOY[:2], scale=2), write_run(tmp_path / "b", *TOY[:2], *WIDE, seed=5, scale=2)]
    temperature, threshold = 3.0, 0.55
    chosen = (f"runs=[{','.join(runs)}]", f"combine={combine}", f"threshold={threshold}")
    options = [*(f"method.teachers.{option}" for option in chosen), f"method.temperature={temperature}"]
    data, method = set_up("teachers", *options, "method.refresh=1", "method.weights.distill.value=0.5")
    net = copy.deepcopy(method.net)
    fit(method, data)

    teachers = [saved_network(read_run(folder)) for folder in runs]
    optimizer = sgd(net.parameters())
    x_all = data.domain("target").train.x
    for epoch, batches in enumerate(epochs(data)):
        with torch.no_grad():
            asked = [*teachers, *([net] if epoch else [])]
            answers = torch.stack([teacher(x_all)[1].double().softmax(1) for teacher in asked], dim=1)
        labels = torch.zeros(len(x_all), 2, dtype=torch.float64)
        for i, said in enumerate(answers):
            p = said[said.amax(1).argmax()] if combine == "union" else said.mean(0)
            agree = len({int(one.argmax()) for one in said}) == 1
            if p.max() >= threshold and (agree or combine != "intersection"):
                labels[i] = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        assert 0 < (labels.sum(1) > 0).sum() < len(labels)
        for batch in batches:
            rows = batch["target"]
            log_p = (net(rows.x)[1] / temperature).log_softmax(1)
            loss = sum(
                sum(q * (q.log() - own) for q, own in zip(wanted, given, strict=True))
                for wanted, given in zip(labels[rows.index], log_p, strict=True)
                if wanted.sum() > 0
            )
            optimizer.zero_grad()
            (0.5 * temperature**2 * loss / len(rows.y)).backward()
            optimizer.step()
    for (name, p), q in zip(method.net.named_parameters(), net.parameters(), strict=True):
        # Labels in float64 here and in float32 there: equal to rounding.
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
