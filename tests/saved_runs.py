"""Folders of runs that never trained: what a run writes, with the weights that a network starts with."""

from pathlib import Path

import torch
from conftest import config
from omegaconf import OmegaConf

from da.assemble import assemble, write_data_file
from da.models.saved import CHECKPOINTS
from da.record import RunRecord

WIDE = ("net.feature_dim=8", "net.bottleneck={_target_: da.models.network.Bottleneck, _partial_: true}")
"""Another architecture than net=mlp: other widths, batch norm and dropout."""


def write_run(folder: Path, *overrides: str, seed: int = 0, scale: float = 1.0) -> str:
    """Write the folder of a complete run of `overrides`; its logits are multiplied by `scale`. Return its path."""
    cfg = config(*overrides, run_dir=folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        data, net = assemble(cfg)
        with torch.no_grad():
            for layer in net.modules():  # statistics that some rows were seen by
                if getattr(layer, "running_mean", None) is not None:
                    layer.running_mean.normal_(0, 0.1)
                    layer.running_var.uniform_(0.5, 1.5)
            for parameter in net.head.parameters():
                parameter *= scale
    record = RunRecord(cfg)
    record.start()
    record.write_config(cfg)
    write_data_file(data, folder)
    path = folder / CHECKPOINTS["selected"]
    path.parent.mkdir()
    torch.save({"state_dict": {f"net.{name}": value for name, value in net.state_dict().items()}}, path)
    record.finish({})
    return str(folder)


def change(folder: str | Path, **options: object) -> None:
    """Set options of the configuration that a run has written."""
    path = Path(folder) / "config.yaml"
    cfg = OmegaConf.load(path)
    for key, value in options.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
    OmegaConf.save(cfg, path)
