"""trainer=fsdp: every process keeps a share of the weights, gradients and optimizer state (FSDP2, Zhao et al. 2023).

Reads and writes whole weights, so that checkpoints are those of a run on one process.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

STEPS = ("training_step", "validation_step", "test_step", "encode_all")
"""Methods that run the network: before each the weights that no block holds are gathered."""

_REFUSED: tuple[tuple[Callable[[DictConfig, pl.LightningModule], Any], str], ...] = (
    (lambda cfg, _: cfg.optimizer.get("fused"), "its fused optimizer can't update shares; set optimizer.fused=false"),
    (lambda cfg, _: cfg.pretrain is not None, "it has a source stage; train that by itself and give it to init_from"),
    (lambda cfg, _: cfg.get("tuning"), "tuning changes what is trained on the way"),
    (lambda cfg, _: cfg.get("averaging"), "an average would have to be sharded, too; set averaging=none"),
    (lambda cfg, _: cfg.get("monitor"), "the alignment monitor differentiates between steps; set monitor=none"),
    (
        lambda cfg, _: cfg.figures != "none",
        "one process draws figures, and has a share only; set figures=none",
    ),
    (lambda _, method: not method.automatic_optimization, "it updates several times a batch"),
    (lambda _, method: _networks(method) > 1, "it keeps a copy of the network"),
)


class ShardedStrategy(ModelParallelStrategy):
    """All processes share the weights of a network (arXiv:2304.11277), and write whole checkpoints."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


@contextmanager
def sharded(strategy: Any, cfg: DictConfig, method: pl.LightningModule) -> Iterator[None]:
    """Train a method in here: with this strategy, ValueError for one that can't be sharded. Others are let through."""
    if not isinstance(strategy, ShardedStrategy):
        yield
        return
    if reason := next((reason for applies, reason in _REFUSED if applies(cfg, method)), None):
        raise ValueError(f"trainer=fsdp does not train method={cfg.names.method} like this: {reason}")
    try:
        yield
    except RuntimeError as error:
        if "mixed torch.Tensor and DTensor" not in str(error):
            raise
        raise ValueError(
            f"trainer=fsdp does not train method={cfg.names.method}, trainer=ddp does: it differentiates within a "
            "step, or runs a part of the network by itself"
        ) from error


def _networks(method: pl.LightningModule) -> int:
    return sum(isinstance(module, type(method.net)) for module in method.modules())


def shard(module: pl.LightningModule, backbone: nn.Module) -> None:
    """Deal the parameters over the processes if the trainer's strategy is to; once.

    Each block of the backbone is gathered when it is run; what remains, the discriminators too, as long as a step.
    """
    strategy = module.trainer.strategy
    if not isinstance(strategy, ShardedStrategy) or isinstance(module, FSDPModule):
        return
    mesh = strategy.device_mesh["data_parallel"]
    for block in blocks(backbone):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for name in STEPS:
        register_fsdp_forward_method(module, name)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules with parameters that stand in a sequence or list: those of a transformer, of a ResNet."""
    for child in module.children():
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and not isinstance(child, (nn.Sequential, nn.ModuleList)):
            if any(True for _ in child.parameters()):
                yield child
        else:
            yield from blocks(child)


def whole_state(module: nn.Module) -> dict[str, Any]:
    """Return the state dict of all processes together; every process has to ask."""
    return {
        key: value.full_tensor() if isinstance(value, DTensor) else value for key, value in module.state_dict().items()
    }


def load_whole_state(module: nn.Module, state: Mapping[str, Any], strict: bool = True) -> None:
    """Load a state dict as `whole_state` gives it; every process has to."""
    own = module.state_dict()

    def share(key: str, value: Any) -> Any:
        mine = own.get(key)
        if isinstance(mine, DTensor) and isinstance(value, Tensor):
            return distribute_tensor(value.to(mine.device), mine.device_mesh, mine.placements)
        return value

    module.load_state_dict({key: share(key, value) for key, value in state.items()}, strict=strict)
