"""The data and the network of a config, made to fit each other."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from da.build import build
from da.data.base import DomainData
from da.data.features import FeatureCache
from da.data.record_data import RecordData
from da.data.rows import Draw, Subset, TensorRows, Transform
from da.models.network import Network
from da.models.state import load_network
from da.record import DATA_FILE, write_whole
from da.types import take_rows


def assemble(cfg: DictConfig, **rows: Any) -> tuple[DomainData, Network]:
    """Build data and network, with the weights of `init_from`; ValueError if the network can't read the rows.

    `rows` are arguments of the data that no config can give: what is in memory already.
    """
    data = _data(cfg, **rows)
    if data.own_classes:
        _give_each_domain_a_head(cfg, data)
    net: Network = build(cfg.net, "net")
    if net.num_classes != data.num_classes:
        raise ValueError(f"net.num_classes={net.num_classes}, but data.num_classes={data.num_classes}: set them equal")
    _load_start(cfg, net, data)  # before its features are cached
    if cfg.data.get("cache_features"):
        cache_features(net, data)
    _check_net_reads_data(cfg, net, data)
    return data, net


def _data(cfg: DictConfig, **rows: Any) -> DomainData:
    """Build the data, and fill in what the config leaves open for them to say, such as the number of classes."""
    data: DomainData = build(cfg.data, "data", **rows)
    for key, value in data.facts().items():
        if cfg.data.get(key) is None:
            OmegaConf.update(cfg, f"data.{key}", value, force_add=True)
        elif cfg.data[key] != value:
            raise ValueError(f"data.{key}={cfg.data[key]}, but the data have {value}")
    return data


def _give_each_domain_a_head(cfg: DictConfig, data: DomainData) -> None:
    if cfg.net.get("head"):
        raise ValueError("data.label_sets=separate gives each domain a linear head, but net.head builds another one")
    head = {"_target_": "da.models.heads.DomainHeads", "_partial_": True}
    OmegaConf.update(cfg, "net.head", head | {"target_classes": data.num_classes_of("target")}, force_add=True)


def _load_start(cfg: DictConfig, net: Network, data: DomainData) -> None:
    if cfg.init_from is None:
        if cfg.init_parts is not None:
            raise ValueError(f"init_parts={list(cfg.init_parts)} are parts of a checkpoint: give init_from too")
        return
    if left := load_network(net, cfg.init_from, cfg.init_parts):
        data.notices.append(f"{', '.join(left)} of the network not taken from {cfg.init_from}")


def cache_features(net: Network, data: DomainData) -> None:
    """Let the data give what the network's frozen backbone makes of its rows, computed once; ValueError where it can't.

    Before any row is read, and with the weights that the backbone is to have.
    """
    if not isinstance(data, RecordData):
        raise ValueError(f"data.cache_features=true: {type(data).__name__} can't; data that are read from files can")
    if not net.freeze_backbone:
        raise ValueError("data.cache_features=true needs a frozen backbone: net.freeze_backbone=true")
    data.encode = FeatureCache(net.backbone)
    net.reads_features = True


def _check_net_reads_data(cfg: DictConfig, net: Network, data: DomainData) -> None:
    rows = data.eval_set("target", "test")
    if not len(rows):
        raise ValueError(f"the target domain {data.names()['target']!r} has no test rows")
    x = rows[Draw(torch.arange(min(2, len(rows))), 0)].x
    try:
        with torch.no_grad():
            net.eval()(x)
        net.train()
    except (RuntimeError, TypeError) as error:
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"net={cfg.names.net} can't read the rows of data={cfg.names.data}, of shape {shape}: "
            f"{str(error).splitlines()[0]}; choose another net or data"
        ) from error


def one_row(data: DomainData) -> Any:
    """Return the x of the target's first test row, as a batch of one, which the network reads."""
    return data.eval_set("target", "test")[Draw(torch.arange(1), 0)].x


def write_data_file(data: DomainData, folder: Path) -> None:
    """Write data.json into the run's folder, and print the notices that have come up since the last time."""
    for notice in data.notices[data.told :]:
        print(f"data: {notice}", file=sys.stderr, flush=True)
    data.told = len(data.notices)
    content = {
        "classes": list(data.classes_of("target")),
        "domains": data.names(),
        "state": data.state(),
        "input": _input(data),
        "notices": data.notices,
    }
    write_whole(folder / DATA_FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def scored_transform(data: DomainData) -> Transform | None:
    """Return what turns rows of the target as the data hold them into what the network reads."""
    if not hasattr(data, "transforms"):
        return None
    scored: Transform | None = data.transforms(getattr(data, "target", ""))[1]
    return scored


def _input(data: DomainData) -> dict[str, Any]:
    """Return shape and type of a target row as the data hold it, and as the network reads it."""
    rows, first = data.eval_set("target", "test"), Draw(torch.arange(1), 0)
    while isinstance(rows, Subset):
        rows = rows.rows
    x, transform = (rows.x, rows.transform) if isinstance(rows, TensorRows) else (rows[first].x, None)
    if isinstance(data, RecordData):  # whose rows may be cached features
        x, transform = data.records(data.target).x, data.transforms(data.target)[1]
    stored = take_rows(x, first.rows)
    return {
        "stored": _described(stored),
        "network": _described(stored if transform is None else transform(stored, first)),
    }


def _described(x: Any) -> dict[str, Any]:
    if isinstance(x, Mapping):
        return {name: _described(part) for name, part in x.items()}
    return {"shape": list(x.shape[1:]), "dtype": str(x.dtype).removeprefix("torch.")}
