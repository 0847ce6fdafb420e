"""Two and four processes train the weights of one, for every method: the same rows, however many deal them."""

import os

import pytest
import torch
from conftest import TOY, config, options
from processes import on_processes
from pytorch_lightning.utilities import rank_zero_only

from da.assemble import assemble
from da.callbacks.seeding import SeedEachBatch
from da.introduce import introduce
from da.sharding import sharded, whole_state
from da.stage import build_method, build_trainer, quiet

pytestmark = pytest.mark.ddp
STEPS = 20
NORM = "net.bottleneck={_target_: da.models.network.Bottleneck, _partial_: true, dropout: 0.0}"
COMMON = (
    "optimizer.lr=0.003",
    *(word for word in TOY if word != "trainer=smoke"),
    NORM,
    "data.shape=blobs",
    *(f"data.steps_per_epoch={STEPS // 2}", "data.batch_size.labeled=8"),
)
MORE = {
    "fixmatch": ("method.terms.fixmatch.threshold=0.4",),
    "teachers": ("method.labels=hard",),
}
CASES = {
    **{method: (f"method={method}", *MORE.get(method, ())) for method in options("method")},
    # Its loss is |p_1 - p_2|, whose sign rounding decides where both heads agree.
    "mcd": ("method=mcd", "trainer.precision=64-true"),
    "accumulated": ("method=mmd", "+trainer.accumulate_grad_batches=2"),
    "swd": ("method=align", "discrepancy=swd"),
    "class queue": ("method=source_only", "term=bi_tuning"),
}


def join_processes(rank, world):
    """Let Lightning take this process for one that torchrun has started."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    rank_zero_only.rank = rank  # Lightning reads it as it is imported, which the forked process does not do again


def trained(rank, world, names, trainer="trainer=ddp_cpu"):
    """Weights of the network after two epochs, by case; rows are dealt to so many processes."""
    join_processes(rank, world)
    return {name: weights((*CASES[name], *trainer.split(), f"trainer.devices={world}")) for name in names}


def weights(overrides):
    quiet()
    cfg = config(*COMMON, *overrides, "trainer.max_epochs=2", "trainer.limit_val_batches=0")
    torch.manual_seed(cfg.seed)
    data, net = assemble(cfg)
    for stage in ("pretrain", "method") if cfg.pretrain is not None else ("method",):
        method = build_method(cfg, stage, net)
        for module in method.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # every process draws masks of its own, as of rows of its own
        data.load(method.streams, method.evaluated)
        introduce(method, data)
        quick = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = build_trainer(cfg, ".", callbacks=[SeedEachBatch(cfg.seed)], **quick)
        with sharded(trainer.strategy, cfg, method):
            trainer.fit(method, datamodule=data)
    return {key: value.clone() for key, value in whole_state(net).items() if value.is_floating_point()}


@pytest.fixture(scope="module")
def alone():
    return {name: weights((*overrides, "trainer=cpu")) for name, overrides in CASES.items()}


FSDP = "trainer=fsdp trainer.accelerator=cpu trainer.precision=32-true optimizer.fused=false monitor=none"
UNSHARDED = {
    "mcd": "it updates several times a batch",
    "wdgrl": "it updates several times a batch",
    "shot": "it has a source stage; train that by itself",
    "teachers": "it keeps a copy of the network",
    "class queue": "it keeps a copy of the network",
    "vat": "it differentiates within a step",
}


@pytest.mark.parametrize(
    ("world", "names", "trainer"),
    [
        (2, list(CASES), "trainer=ddp_cpu"),
        (4, ["mmd", "mcd", "shot", "atdoc", "can", "dann"], "trainer=ddp_cpu"),
        (2, [name for name in CASES if name not in UNSHARDED], FSDP),
    ],
)
def test_processes_train_the_weights_of_one(world, names, trainer, alone):
    wrong = {}
    for of_rank in on_processes(world, trained, names, trainer):
        for name in names:
            wrong[name] = max(float((of_rank[name][key] - value).abs().max()) for key, value in alone[name].items())
    print({name: gap for name, gap in wrong.items() if gap > 1e-5})
    assert {name: gap for name, gap in wrong.items() if gap > 1e-5} == {}


def refusals(rank, world):
    found = {}
    for name in UNSHARDED:
        try:
            trained(rank, world, [name], FSDP)
        except ValueError as error:
            found[name] = str(error)
    return found


def test_weights_are_not_shared_where_that_would_train_others():
    (said,) = on_processes(1, refusals)
    assert said.keys() == UNSHARDED.keys()
    for name, reason in UNSHARDED.items():
        assert said[name].startswith("trainer=fsdp does not train method=")
        assert reason in said[name]


def error_of(rank, world):
    """What the run says whose task loss is NaN on the last process alone, in the fourth batch."""
    from da.methods.weighted_sum import WeightedSum

    loss = WeightedSum.loss

    def broken(self, step):
        losses = loss(self, step)
        if rank == world - 1 and self.batches_seen == 4:
            task = losses.parts["task"] * float("nan")
            return losses._replace(total=losses.total + task, parts={**losses.parts, "task": task})
        return losses

    WeightedSum.loss = broken
    try:
        trained(rank, world, ["mmd"])
    except FloatingPointError as error:
        return str(error)
    return "no error"


def test_a_loss_that_is_nan_on_one_process_ends_all_with_the_same_error():
    assert on_processes(2, error_of) == ["the loss is not finite: term 'task' is nan on process 1, with weight 1"] * 2
