"""`da doctor`: what kind of shift there is between two domains, without target labels, and what to try."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from da.command import Parser, run_command

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from da.data.base import DomainData
    from da.doctor.report import Report

Choice = Literal["auto", "net", "raw"]

EPILOG = """The options are those of da train: data=... data.source=... data.target=... net=..., or experiment=...
Target labels are never looked at. docs/pages/transfer/diagnosis.md has every number, rule and its grounds."""


def main(argv: list[str]) -> int:
    """Run `da doctor` with the words after it; see `run_command` for the exit status."""
    return run_command("doctor", lambda: _doctor(_arguments(argv)))


def examine(
    words: Sequence[str],
    rows: int = 2000,
    permutations: int = 500,
    folds: int = 5,
    seed: int = 0,
    features: Choice = "auto",
) -> "Report":
    """Diagnose the task that these options of `da train` describe.

    Args:
        words: such as ["data=pacs", "data.target=cartoon", "net=mobilenet_v2"].
        rows: of a domain that are looked at, at most; drawn at random, the same ones every time.
        permutations: see `diagnose`, as for the next two.
        folds: of what a classifier judges.
        seed: of permutations, resamples and folds.
        features: those of the network's backbone ("net"), the rows as they are ("raw"), or the first if the network
            is pretrained ("auto").

    Raises FileNotFoundError or ValueError for data, a network or options that are no good.
    """
    from da.compose import compose_config
    from da.doctor.advice import suggest
    from da.doctor.diagnosis import diagnose
    from da.doctor.findings import findings
    from da.doctor.report import Report, command
    from da.features import freeze_and_cache

    cfg = compose_config(words)
    pretrained = is_pretrained(cfg)
    kind = features if features != "auto" else "net" if pretrained else "raw"
    if kind == "net":
        freeze_and_cache(cfg, words)
    data, z_s, y, z_t = _read(cfg, kind, rows)
    diagnosis = diagnose(z_s, y, z_t, data.num_classes, kind == "net" and pretrained, permutations, folds, seed)
    names = data.class_names
    facts = {
        "source": data.names()["source"],
        "target": data.names()["target"],
        "source_rows": len(data.domain("source").train),
        "target_rows": len(data.domain("target").train),
        "classes": list(names),
        "left_out": [name for c, name in enumerate(names) if c not in diagnosis.kept],
        "features": kind,
        "net": cfg.names.net,
        "standardise": cfg.data.get("standardise"),
        "leaks": [notice for notice in data.notices if notice.startswith("leak: ")],
    }
    suggestions = suggest(diagnosis)
    commands = [[command(words, method, "label_sets" in cfg.data) for method in methods] for _, methods in suggestions]
    return Report(facts, diagnosis, findings(diagnosis, names), suggestions, commands)


def is_pretrained(cfg: "DictConfig") -> bool:
    """Whether the network of a config starts from learnt weights: named ones, or those of an encoder of text."""
    from omegaconf import OmegaConf

    named = OmegaConf.select(cfg, "net.backbone.weights") is not None
    return named or cfg.init_from is not None or OmegaConf.select(cfg, "net.input.tokenizer") is not None


def _read(cfg: "DictConfig", kind: str, most: int) -> "tuple[DomainData, Tensor, Tensor, Tensor]":
    """Return the data, the features and labels of the source's rows, and the features of the target's."""
    import torch
    from omegaconf.errors import OmegaConfBaseException

    from da.assemble import assemble
    from da.compose import one_line
    from da.features import drawn_rows, raw_rows
    from da.features import features as encode

    _show_plainly(cfg, kind)
    torch.manual_seed(cfg.seed)  # of a network that is not pretrained
    try:
        data, net = assemble(cfg)
    except OmegaConfBaseException as error:  # one of them asks for what the other does not have
        raise ValueError(one_line(error)) from error
    if kind == "raw":
        z_s, z_t = raw_rows(data, most)
    else:
        encoded = [encode(data, net, role, most) for role in ("source", "target")]
        # What lies behind the backbone has learnt nothing, unless the whole network was trained.
        whole = cfg.init_from is not None and cfg.init_parts is None
        z_s, z_t = (part.z if whole else part.backbone.flatten(1) for part in encoded)
    data.load(frozenset())  # which looks for leaks
    return data, z_s, drawn_rows(data, "source", most).y, z_t


def _show_plainly(cfg: "DictConfig", kind: str) -> None:
    """Let no row be augmented, and no source row be held out: only the source's would be, which is a shift."""
    from hydra.utils import get_object

    from da.data.record_data import RecordData

    if not issubclass(get_object(cfg.data._target_), RecordData):
        if "augment" in cfg.data:
            cfg.data.augment = None
    elif "val_fraction" in cfg.data:
        cfg.data.val_fraction = 0.0  # then they are read as they are validated: without augmentation
    if kind == "raw" and cfg.data.get("cache_features"):
        cfg.data.cache_features = False


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da doctor",
        description="Say what kind of shift there is between two domains, without target labels, and what to try.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("options", nargs="*", metavar="option=value", help="data and network, as for da train")
    parser.add_argument("--rows", type=int, default=2000, metavar="N", help="most rows of a domain (2000)")
    parser.add_argument("--permutations", type=int, default=500, metavar="N", help="and bootstrap resamples (500)")
    parser.add_argument("--folds", type=int, default=5, metavar="K", help="of what a classifier judges (5)")
    parser.add_argument("--seed", type=int, default=0, help="of permutations, resamples and folds (0)")
    parser.add_argument(
        "--features",
        choices=("auto", "net", "raw"),
        default="auto",
        help="of the network's backbone, or the rows as they are; auto: the network's if it is pretrained",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything there too, as .json")
    arguments = parser.parse_intermixed_args(argv)
    if not any(word.startswith(("data=", "experiment=")) for word in arguments.options):
        parser.error("say which data: data=..., as for da train")
    for name, least in (("rows", 20), ("permutations", 99), ("folds", 2), ("seed", 0)):
        if getattr(arguments, name) < least:
            parser.error(f"--{name} {getattr(arguments, name)} must be at least {least}")
    if arguments.out is not None and arguments.out.suffix != ".json":
        parser.error(f"--out {arguments.out} must end in .json")
    return arguments


def _doctor(chosen: argparse.Namespace) -> None:
    # Imported here: PyTorch takes seconds, which --help and mistakes in the options save.
    from da.doctor.report import lines
    from da.record import write_whole

    started = time.monotonic()
    report = examine(chosen.options, chosen.rows, chosen.permutations, chosen.folds, chosen.seed, chosen.features)
    if chosen.out is not None:
        write_whole(chosen.out, json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    print("\n".join(lines(report, chosen.options)))
    print(f"{time.monotonic() - started:.0f} seconds", file=sys.stderr)
