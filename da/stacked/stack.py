"""One method with the parameters of many: everything it computes, it computes for all of them at once."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_map

from da.callbacks.seeding import seed_generators
from da.methods.base import Method
from da.methods.weighted_sum import WeightedSum
from da.models.optimizer import new_optimizer
from da.overhead import LeanModule
from da.stacked.layers import LayersOfEach
from da.stacked.reasons import SeedsDifferError
from da.terms.base import AdaptiveWeight, Losses, Weight
from da.types import Batch, Encoded, Role, Samples

T = TypeVar("T")


class _Call(nn.Module):
    """Calls a function of a method, so that `functional_call` can put other parameters into that method."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, function: Callable[..., T], *arguments: Any) -> T:
        return function(self.method, *arguments)


class Stack(LeanModule):
    """K weighted sums of the same terms that differ in the weights lambda and in the seed only.

    Each trained parameter p of the method becomes one of shape [K, *p.shape], and each buffer that training may change
    too; a frozen backbone stays the one that it is. `torch.vmap` runs the method over them, with the batches and the
    dropout of each run's seed, as a run by itself has them. The sum of the K losses has in each slice the gradient of
    that slice's own loss, and the optimizer steps each slice as it would by itself.

    Args:
        methods: of each seed, before its first step; the first is changed.
        seed_of: for each of the K runs, the number of its seed's method; ascending.
        weights: of the terms, by name, for each of the K runs.

    Raises SeedsDifferError where the seeds begin with other things than weights of the same shapes.
    """

    def __init__(
        self, methods: Sequence[WeightedSum], seed_of: Sequence[int], weights: Sequence[Mapping[str, Weight]]
    ) -> None:
        super().__init__()
        method = methods[0]
        self.size, self.seed_of, self.weights = len(weights), list(seed_of), weights
        self.names = [name for name in method.state_dict() if _differs(method, name)]
        self.places = [_place(method, name) for name in self.names]
        for other in methods[1:]:
            _check_alike(method, other, self.names)
        states = [each.state_dict() for each in methods]
        for key, (module, name) in zip(self.names, self.places, strict=True):
            stacked = torch.stack([states[seed][key].detach() for seed in seed_of])
            setattr(module, name, nn.Parameter(stacked) if isinstance(getattr(module, name), nn.Parameter) else stacked)
        self.method = method
        self.generators: list[torch.Generator] = []
        """Of each seed, where there are several: what its dropout masks are drawn by."""
        self.slices: dict[nn.Parameter, list[nn.Parameter]] = {}
        """Of each parameter that is trained: the optimizer's own, one for each run, in the same memory."""
        self._call = [_Call(method)]  # in a list: its parameters are those of `method`, once

    @property
    def batches_seen(self) -> int:
        """Batches trained on so far."""
        return self.method.batches_seen

    @classmethod
    def like(cls, stack: "Stack", methods: Sequence[WeightedSum]) -> "Stack":
        """Return a stack of the same seeds and weights lambda, of other copies of the methods."""
        return cls(methods, stack.seed_of, stack.weights)

    def runs_of(self, seed: int) -> slice:
        """Return where in the stack the runs of the seed with this number are."""
        first = self.seed_of.index(seed)
        return slice(first, first + self.seed_of.count(seed))

    def seed(self, seeds: Sequence[int]) -> None:
        """Seed what draws for the runs of each seed, as `seed_generators` does for a run by itself."""
        seed_generators(seeds[0], self.device)
        if len(seeds) > 1:
            self.generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    def stacked(self) -> dict[str, Tensor]:
        """Return the parameters and buffers of all runs, [K, ...] each, by their names in the method."""
        return {key: getattr(module, name) for key, (module, name) in zip(self.names, self.places, strict=True)}

    def each(self, function: Callable[..., T], *arguments: Any, runs: slice = slice(None)) -> T:
        """Return `function(method, *arguments)` for every one of the runs; tensors among the arguments are [K, ...]."""

        def one(state: dict[str, Tensor], seed: Tensor, arguments: tuple[Any, ...]) -> Any:
            with LayersOfEach(self.generators, seed):
                return functional_call(self._call[0], state, (function, *arguments), tie_weights=False)

        # Not a slice of all: its gradient would be copied into zeros.
        state = {f"method.{n}": value if runs == slice(None) else value[runs] for n, value in self.stacked().items()}
        seeds = torch.tensor(self.seed_of[runs], device=self.device)
        results: T = vmap(one, randomness="same")(state, seeds, arguments)
        return results

    def only(self, run: int, function: Callable[..., T]) -> T:
        """Return `function(method)` for one of the runs."""
        state = {f"method.{name}": value[run] for name, value in self.stacked().items()}
        return functional_call(self._call[0], state, (function,), tie_weights=False)

    def own_state(self, run: int) -> dict[str, Tensor]:
        """Return a copy of what training changes in a run's state dict."""
        counts = {name: value for name, value in self.method.state_dict().items() if name.endswith("_extra_state")}
        return copy.deepcopy(counts) | {name: value[run].detach().clone() for name, value in self.stacked().items()}

    @torch.no_grad()
    def load(self, run: int, state: Mapping[str, Tensor]) -> None:
        """Give one run the state that `own_state` returned."""
        for name, value in self.stacked().items():
            value[run] = state[name]

    def current_weights(self) -> dict[str, Tensor]:
        """Return the weights of the terms at this point of the training, [K] each."""
        progress = self.method.progress
        return {
            name: torch.tensor([_scheduled(own[name], progress) for own in self.weights], device=self.device)
            for name in self.weights[0]
        }

    def losses(self, batches: Sequence[Batch]) -> Losses:
        """Return the losses of all runs, every number of them [K], on the batch of each seed."""
        weights = self.current_weights()
        if len(batches) == 1:
            total, parts, measures = self.each(lambda method, own: _losses(method, batches[0], own), weights)
        else:
            own_batches = tree_map(lambda *of_seeds: torch.stack([of_seeds[s] for s in self.seed_of]), *batches)
            total, parts, measures = self.each(_losses, own_batches, weights)
        reversals = {name: reversal(self.method.progress) for name, reversal in self.method.objective.reversals.items()}
        return Losses(total, parts, weights, reversals, measures)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return an optimizer of the slices: a step over the whole would round the ends of vectors otherwise."""

        def make(groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
            sliced = []
            for group in groups:
                self.slices |= {p: [nn.Parameter(own) for own in p.detach()] for p in group["params"]}
                sliced.append(group | {"params": [own for p in group["params"] for own in self.slices[p]]})
            return self.method.make_optimizer(sliced)

        return new_optimizer(make, self.method.net, [self.method])

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for p, slices in self.slices.items():
            for own, grad in zip(slices, [None] * self.size if p.grad is None else p.grad, strict=True):
                own.grad = grad

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        super().optimizer_zero_grad(epoch, batch_idx, optimizer)
        for p in self.slices:
            p.grad = None

    def on_train_batch_start(self, batch: Sequence[Batch], batch_idx: int) -> None:
        self.method.on_train_batch_start(batch[0], batch_idx)

    def training_step(self, batch: Sequence[Batch], batch_idx: int) -> dict[str, Any]:
        losses = self.losses(batch)
        return {"loss": losses.total.sum(), "losses": losses}

    def validation_step(  # type: ignore[override]  # as in a method
        self, rows: Samples, batch_idx: int, dataloader_idx: int = 0
    ) -> Encoded:
        return self._encoded(rows, self.method.evaluated, dataloader_idx)

    def test_step(  # type: ignore[override]  # as in a method
        self, rows: Samples, batch_idx: int, dataloader_idx: int = 0
    ) -> Encoded:
        return self._encoded(rows, ("source", "target"), dataloader_idx)

    def _encoded(self, rows: Samples, roles: Sequence[Role], loader: int) -> Encoded:
        """Return the rows as the runs of their seed encode them: features and logits [runs, n, ...], the rest as is."""
        seed, number = divmod(loader, len(roles))
        role, runs = roles[number], self.runs_of(seed)
        z, logits = self.each(lambda method: _features_and_logits(method, rows, role), runs=runs)
        return Encoded(z, logits, rows.y, rows.domain, rows.index)


def one_of(losses: Losses, run: int) -> Losses:
    """Return the losses of one run of a stack."""

    def own(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value[run] for name, value in values.items()}

    return Losses(
        losses.total[run], own(losses.parts), own(losses.weights), dict(losses.reversals), own(losses.measures)
    )


def _losses(
    method: WeightedSum, batch: Batch, weights: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    losses = method.objective(method.encode(batch), weights)
    return losses.total, dict(losses.parts), dict(losses.measures)


def _features_and_logits(method: Method, rows: Samples, role: Role) -> tuple[Tensor, Tensor]:
    encoded = method.encode_stream(rows, role)
    return encoded.z, encoded.logits


def _scheduled(weight: Weight, progress: float) -> float:
    assert not isinstance(weight, AdaptiveWeight), "such a weight is not stacked"
    return weight(progress)


def _place(method: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, last = name.rpartition(".")
    return method.get_submodule(path), last


def _check_alike(method: WeightedSum, other: WeightedSum, stacked: Sequence[str]) -> None:
    """Raise SeedsDifferError where the methods of two seeds differ in more than the values of what is stacked."""
    one, two = method.state_dict(), other.state_dict()
    for name in one:
        a, b = one[name], two.get(name)
        if name in stacked:
            same = b is not None and a.shape == b.shape
        else:
            same = torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b
        if not same:
            raise SeedsDifferError(f"its seeds differ in {name}, which a stack has once")


def _differs(method: WeightedSum, name: str) -> bool:
    """Whether the entry `name` of the state dict may become another one in each run."""
    module, last = _place(method, name)
    value = getattr(module, last, None)  # None: what `get_extra_state` gives, such as the number of a draw
    if not isinstance(value, Tensor):
        return False
    if isinstance(value, nn.Parameter):
        return value.requires_grad
    return not (method.net.freeze_backbone and name.startswith("net.backbone."))
