"""Figures by epoch: the features are drawn on the way, and the training does not notice."""

import torch
from conftest import TOY, config

from da.models.state import load_checkpoint
from da.run import run


def test_features_are_drawn_after_epochs_and_the_training_is_the_same(tmp_path):
    short = (*TOY, "method=dann", "trainer.max_epochs=4", "averaging=ema", "net.backbone.dropout=0.2")
    drawn, plain = tmp_path / "drawn", tmp_path / "plain"
    run(config(*short, "figures=pca", "figures_every=2", run_dir=drawn))
    run(config(*short, run_dir=plain))
    assert {path.name for path in (drawn / "figures/epochs").iterdir()} == {"0002.png", "0004.png"}
    one, other = (load_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"] for folder in (drawn, plain))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items() if isinstance(value, torch.Tensor))
