"""trainer=fsdp, on CPUs: what it refuses, and what it leaves. tests/methods/test_processes.py has what it trains."""

import pytest
import torch
from conftest import TOY, config, power_cut
from methods.test_processes import FSDP, join_processes
from processes import on_processes

from da.models.state import load_checkpoint
from da.run import run
from da.sharding import blocks
from da.stage import leads

pytestmark = pytest.mark.ddp
SHARED = (*FSDP.split(), "trainer.devices=2")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("optimizer.fused=true", "set optimizer.fused=false"),
        ("figures=pca", "set figures=none"),
        ("monitor=alignment", "set monitor=none"),
        ("averaging=ema", "set averaging=none"),
    ],
)
def test_what_would_need_all_weights_at_once_is_refused(word, reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        run(config(*TOY, "method=mmd", *SHARED, "trainer.devices=1", word, run_dir=tmp_path))


def cut_and_whole(rank, world, folder):
    join_processes(rank, world)
    assert leads() == (rank == 0)
    words = (*TOY, "method=dann", *SHARED, "trainer.max_epochs=3")
    run(config(*words, run_dir=f"{folder}/whole"))
    cfg = config(*words, run_dir=f"{folder}/cut")
    with power_cut(epoch=1, batch=2):
        run(cfg)
    run(cfg)


def test_a_run_goes_on_after_an_interruption_and_leaves_a_whole_checkpoint(tmp_path):
    on_processes(2, cut_and_whole, str(tmp_path))
    whole, cut = (load_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "cut"))
    torch.testing.assert_close(cut["state_dict"], whole["state_dict"], atol=0, rtol=0)
    assert whole["state_dict"]["net.head.weight"].shape == (2, 16)
    run(config(*TOY, "method=mmd", f"init_from={tmp_path}/whole/checkpoints/last.ckpt", run_dir=tmp_path / "alone"))


def test_blocks_are_the_outermost_of_a_sequence():
    inner = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    block = torch.nn.Module()
    block.layers = inner
    net = torch.nn.Sequential(torch.nn.Sequential(block, torch.nn.Linear(2, 2)), torch.nn.ReLU())
    assert list(blocks(net)) == [block, net[0][1]]
    alone = torch.nn.Module()
    alone.layers = torch.nn.ModuleList([block])
    assert list(blocks(alone)) == [block]
