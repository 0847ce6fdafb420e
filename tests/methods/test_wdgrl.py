"""WDGRL: the paper's algorithm written naively, and its parts in closed form."""

import copy

import pytest
import torch
from conftest import Net, config, make_step, normal
from methods.test_naive import assert_equal_weights, epochs, fit, set_up, sgd
from processes import on_processes
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import da.distributed
from da.build import build
from da.discrepancies.base import Draws
from da.methods.wdgrl import Wdgrl
from da.models.mlp import Mlp
from da.terms.critic import gradient_penalty, interpolates


def method(**options):
    torch.manual_seed(0)
    return Wdgrl(Net(), sgd, hidden_dims=(8,), **options).double()


def linear(*slope):
    critic = nn.Linear(len(slope), 1).double()
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([slope]))
    return critic


def test_wdgrl_equals_the_papers_algorithm():
    data, method = set_up("wdgrl")
    net, critic, weight = copy.deepcopy(method.net), copy.deepcopy(method.critic), 1.0
    fit(method, data)

    of_net, of_critic = sgd(net.parameters()), sgd(critic.parameters())
    draws = Draws()
    for batches in epochs(data):
        for batch in batches:
            x_s, y_s, x_t = batch["source"].x, batch["source"].y, batch["target"].x
            n = len(x_s)
            assert n == len(x_t)
            with torch.no_grad():
                z_s, z_t = net.backbone(torch.cat([x_s, x_t])).split([n, n])
            for _ in range(5):
                distance = critic(z_s).mean() - critic(z_t).mean()
                mix = torch.rand(n, 1, generator=draws.generator(), dtype=torch.float64).float()
                points = torch.cat([z_s, z_t, torch.lerp(z_t, z_s, mix)]).requires_grad_()
                (slopes,) = torch.autograd.grad(critic(points).sum(), [points], create_graph=True)
                penalty = (slopes.norm(dim=1) - 1).square().mean()
                of_critic.zero_grad()
                (10.0 * penalty - distance).backward()
                of_critic.step()
            z_s, z_t = net.backbone(torch.cat([x_s, x_t])).split([n, n])
            loss = F.cross_entropy(net.head(z_s), y_s) + weight * (critic(z_s).mean() - critic(z_t).mean())
            of_net.zero_grad()
            loss.backward()
            of_net.step()
    assert_equal_weights(method.critic, critic)
    assert_equal_weights(method.net, net)


def test_the_penalty_of_a_linear_critic_is_its_slope_minus_one_squared():
    assert_close(gradient_penalty(linear(3.0, 4.0), normal(6, 2)), torch.tensor(16.0).double())
    assert_close(gradient_penalty(linear(0.6, 0.8), normal(6, 2)), torch.tensor(0.0).double())


def test_the_gradient_of_the_penalty_pulls_the_slope_to_one():
    critic = linear(3.0, 4.0)
    gradient_penalty(critic, normal(6, 2)).backward()
    assert_close(critic.weight.grad, torch.tensor([[2 * 4 * 0.6, 2 * 4 * 0.8]]).double())


def test_the_penalty_of_a_flat_critic_is_one_and_its_gradient_is_finite():
    critic = Mlp(2, [4, 1]).double()
    for parameter in critic.parameters():
        nn.init.zeros_(parameter)
    penalty = gradient_penalty(critic, normal(6, 2))
    assert_close(penalty, torch.tensor(1.0).double())
    penalty.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in critic.parameters())


@pytest.mark.parametrize(("n", "m"), [(5, 5), (7, 3), (2, 9)])
def test_interpolates_lie_between_rows_of_the_two_domains_the_shorter_repeated(n, m):
    z_s, z_t = normal(n, 3), normal(m, 3, seed=1)
    points = interpolates(z_s, z_t, torch.Generator().manual_seed(0))
    mix = torch.rand(max(n, m), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [mix[i] * z_s[i % n] + (1 - mix[i]) * z_t[i % m] for i in range(max(n, m))]
    assert_close(points, torch.stack(expected))


def test_the_losses_of_both_players_are_those_of_the_paper():
    it, step = method(gradient_penalty=7.0), make_step(n=12, m=9)
    z_s, z_t = step.source.z, step.target.z
    distance = sum(it.critic(z)[0] for z in z_s) / 12 - sum(it.critic(z)[0] for z in z_t) / 9
    it.train()
    points = [*z_s, *z_t, *interpolates(z_s, z_t, Draws().generator())]
    slopes = [torch.autograd.functional.jacobian(it.critic, z)[0] for z in points]
    penalty = sum((s.norm() - 1) ** 2 for s in slopes) / len(points)
    assert len(points) == 12 + 9 + 12
    assert_close(it.criticise(step).total, 7.0 * penalty - distance)
    task = F.cross_entropy(step.source.logits, step.source.y)
    assert_close(it.minimise(step).total, task + distance)


def test_lambda_weighs_what_the_features_receive_and_not_what_the_critic_learns():
    found = []
    for weight in (1.0, 0.25):
        it, step = method(weights={"wasserstein": lambda p, weight=weight: weight}), make_step()
        z = step.target.z.requires_grad_()
        of_critic = torch.autograd.grad(it.criticise(step).total, list(it.critic.parameters()), allow_unused=True)
        found.append((torch.autograd.grad(it.minimise(step).total, [z])[0], of_critic))
    assert_close(found[1][0], 0.25 * found[0][0])
    assert_close(found[1][1], found[0][1])
    assert found[0][0].abs().max() > 1e-6


def test_the_count_of_the_draws_is_saved():
    it = method()
    it.criticise(make_step())
    again = method()
    again.load_state_dict(it.state_dict())
    assert again.penalty.draws.count == it.penalty.draws.count == 1


@pytest.mark.parametrize("options", [{"critic_steps": 0}, {"gradient_penalty": -1.0}])
def test_a_critic_that_cannot_learn_is_refused(options):
    with pytest.raises(ValueError, match="critic_steps must be 1 or more and gradient_penalty not negative"):
        method(**options)


def test_an_unknown_weight_is_named():
    cfg = config("data=toy", "net=mlp", "method=wdgrl")
    cfg.method.weights = {"critic": cfg.method.weights.wasserstein}
    with pytest.raises(ValueError, match=r"weights name \['critic'\]"):
        build(cfg.method, "method", net=Net(), optimizer=sgd)


def shares(rank, world):
    """The critic's loss and gradient on this rank's share of the rows, the mean over the ranks."""
    it, step = method(), make_step(n=12, m=8)
    streams = {name: step.streams[name] for name in ("source", "target")}
    streams = {n: rows._replace(z=rows.z.chunk(world)[rank]) for n, rows in streams.items()}
    total = it.criticise(step._replace(streams=streams)).total
    gradients = torch.autograd.grad(total, list(it.critic.parameters()))
    mean = da.distributed.mean_over_ranks
    return [mean(total.detach()), *(mean(g) for g in gradients)]


@pytest.mark.ddp
def test_the_critic_learns_the_same_on_two_processes_as_on_one():
    one = shares(0, 1)
    assert max(float(g.abs().max()) for g in one[1:]) > 1e-3
    for of_rank in on_processes(2, shares):
        assert_close(of_rank, one)
