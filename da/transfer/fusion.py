"""Networks made of the parameters of others: mixed, averaged, or added up as task vectors.

Running statistics of batch norm are mixed like parameters, and are then those of no network: estimate them anew.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from da.models.state import below, check_fits, owner

State = Mapping[str, Tensor]
"""Parameters and buffers of a network by name, as `state_dict()` gives them."""


class Common(NamedTuple):
    """Networks that fit one another only in part, made to fit."""

    states: list[dict[str, Tensor]]  # with the names of the first; what one of the others lacks is the first's
    kept: list[str]  # what the first has and not all others
    left_out: list[str]  # what the first lacks


def common(states: Sequence[State]) -> Common:
    """Return the networks with what all of them have, and the rest from the first.

    Raises ValueError where a name stands for other shapes, and where nothing is common.
    """
    first, kept, left_out = states[0], set[str](), set[str]()
    for i, state in enumerate(states[1:], start=2):
        both = first.keys() & state.keys()
        check_fits({key: state[key] for key in both}, {key: first[key] for key in both}, f"network {i}", "network 1")
        kept |= first.keys() - both
        left_out |= state.keys() - both
    if kept == first.keys():
        raise ValueError("the networks have nothing in common: no name of a parameter is in all of them")
    filled = [{key: state.get(key, value) for key, value in first.items()} for state in states]
    return Common(filled, sorted(kept), sorted(left_out))


def fuse(
    states: Sequence[State], weights: Sequence[float], groups: Mapping[str, Sequence[float]] | None = None
) -> dict[str, Tensor]:
    """Return sum_i w_i theta_i, summed in float64; where one weight is 1 and the others are 0, that state bit for bit.

    Args:
        states: of networks of one shape.
        weights: one for each; two of them, alpha and 1 - alpha, interpolate.
        groups: other weights for what lies below a submodule, such as {"head": [1, 0]}; the longest name counts.

    What is no floating-point number (counters of batches) is that of the first state of the largest weight.

    Raises ValueError for states that do not fit one another, naming the differences, for weights that are not as many
    or not finite, and for a group that no name lies below.
    """
    _check_states(states)
    chosen = {"": weights, **(groups or {})}
    for name, own in chosen.items():
        if len(own) != len(states) or not all(map(math.isfinite, own)):
            raise ValueError(f"{name or 'the network'} has the weights {list(own)}: expected {len(states)} numbers")
        if not any(below(key, name) for key in states[0]):
            raise ValueError(f"no parameter lies below {name!r}; there are {', '.join(_tops(states[0]))}")
    return {key: _sum([state[key] for state in states], chosen[owner(key, chosen) or ""]) for key in states[0]}


def add_tasks(base: State, states: Sequence[State], scale: float = 1.0) -> dict[str, Tensor]:
    """Return theta_0 + scale * sum_i (theta_i - theta_0): task arithmetic.

    Ilharco et al., Editing models with task arithmetic, ICLR 2023. Raises ValueError as `fuse` does.
    """
    return fuse([base, *states], [1 - scale * len(states), *[scale] * len(states)])


def greedy_soup(states: Sequence[State], score: Callable[[State], float]) -> tuple[dict[str, Tensor], list[int]]:
    """Return the mean of those states that do not lower its score, tried from the best one down, and their numbers.

    Wortsman et al., Model soups, ICML 2022, recipe 1. `score` must use rows that may choose: validation rows, and no
    labels of the target unless it is to be called an oracle. Raises ValueError as `fuse` does.
    """
    _check_states(states)
    scores = [score(state) for state in states]
    order = sorted(range(len(states)), key=lambda i: -scores[i])
    kept, best = [order[0]], scores[order[0]]
    for i in order[1:]:
        tried = [*kept, i]
        found = score(_mean([states[j] for j in tried]))
        if found >= best:
            kept, best = tried, found
    return _mean([states[i] for i in kept]), kept


def _mean(states: Sequence[State]) -> dict[str, Tensor]:
    return fuse(states, [1 / len(states)] * len(states))


def _sum(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    used = [(weight, value) for weight, value in zip(weights, values, strict=True) if weight]
    if not values[0].is_floating_point():
        return values[max(range(len(values)), key=lambda i: weights[i])].clone()
    if len(used) == 1 and used[0][0] == 1:
        return used[0][1].clone()
    total = torch.zeros_like(values[0], dtype=torch.float64)
    for weight, value in used:
        total += weight * value.double()
    return total.to(values[0].dtype)


def _check_states(states: Sequence[State]) -> None:
    if not states:
        raise ValueError("there is nothing to fuse")
    for i, state in enumerate(states[1:], start=2):
        check_fits(dict(state), dict(states[0]), f"network {i}", "network 1")
        for key, value in state.items():
            for what in ("dtype", "device"):
                mine, first = getattr(value, what), getattr(states[0][key], what)
                if mine != first:
                    raise ValueError(f"{key} is {mine} in network {i}, but {first} in network 1")


def _tops(state: State) -> list[str]:
    return sorted({key.partition(".")[0] for key in state})
