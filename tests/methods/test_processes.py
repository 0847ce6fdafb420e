"""Two and four processes train the weights of one, for every method: the same rows, however many deal them."""

import pytest
import torch
from conftest import TOY, config, options
from processes import join_processes, on_processes

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


def configs(names, trainer, world):
    last = (*trainer.split(), f"trainer.devices={world}", "trainer.max_epochs=2", "trainer.limit_val_batches=0")
    return {name: config(*COMMON, *CASES[name], *last) for name in names}


def trained(rank, world, cfgs):
    """Weights of the network after two epochs, by case; rows are dealt to so many processes."""
    join_processes(rank, world)
    return {name: weights(cfg) for name, cfg in cfgs.items()}


def weights(cfg):
    quiet()
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
    return {name: weights(cfg) for name, cfg in configs(CASES, "trainer=cpu", 1).items()}


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
    for of_rank in on_processes(world, trained, configs(names, trainer, world)):
        for name in names:
            wrong[name] = max(float((of_rank[name][key] - value).abs().max()) for key, value in alone[name].items())
    print({name: gap for name, gap in wrong.items() if gap > 1e-5})
    assert {name: gap for name, gap in wrong.items() if gap > 1e-5} == {}


def refusals(rank, world, cfgs):
    found = {}
    for name, cfg in cfgs.items():
        try:
            trained(rank, world, {name: cfg})
        except ValueError as error:
            found[name] = str(error)
    return found


def test_weights_are_not_shared_where_that_would_train_others():
    (said,) = on_processes(1, refusals, configs(UNSHARDED, FSDP, 1))
    assert said.keys() == UNSHARDED.keys()
    for name, reason in UNSHARDED.items():
        assert said[name].startswith("trainer=fsdp does not train method=")
        assert reason in said[name]


def error_of(rank, world, cfgs):
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
        trained(rank, world, cfgs)
    except FloatingPointError as error:
        return str(error)
    return "no error"


def test_a_loss_that_is_nan_on_one_process_ends_all_with_the_same_error():
    said = on_processes(2, error_of, configs(["mmd"], "trainer=ddp_cpu", 2))
    assert said == ["the loss is not finite: term 'task' is nan on process 1, with weight 1"] * 2
