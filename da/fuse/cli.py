"""`da fuse`: one network made of the parameters of others."""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from da.command import Parser, run_command
from da.transfer.curve import CHOICES, MEANING, alphas, barrier

if TYPE_CHECKING:
    from da.fuse.mixing import Fused, Fusing

EPILOG = """Two: alpha theta_1 + (1 - alpha) theta_2. Soup: the mean. Base: theta_B + scale * sum_i (theta_i - theta_B).
It is used as any checkpoint of the run: da predict RUN INPUTS --weights FILE.ckpt, da train init_from=FILE.ckpt."""


def main(argv: list[str]) -> int:
    """Run `da fuse` with the words after it; see `run_command` for the exit status."""
    return run_command("fuse", lambda: _fuse(_arguments(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="da fuse",
        description="Mix the parameters of networks of one shape into one network.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("networks", nargs="+", metavar="NETWORK", help="folder of a run, or a checkpoint (RUN/checkpoints/last.ckpt)")
    add("--out", type=Path, required=True, metavar="FILE", help="the checkpoint to write, FILE.ckpt")
    add("--weights", choices=("selected", "last"), default="selected", help="of folders of runs (default: selected)")
    how = parser.add_argument_group("how they are mixed")
    add = how.add_argument
    add("--alpha", metavar="A", help="share of the first of two (default 0.5), or a share for each: 0.5,0.3,0.2")
    add("--group", action="append", default=[], metavar="NAME=A", help="other shares below a submodule, such as head=1")
    add("--sweep", action="store_true", help="try alpha from 0 to 1 and choose; also writes FILE.csv and FILE.png")
    add("--points", type=int, metavar="N", help="of a sweep (default 11)")
    add("--soup", choices=("uniform", "greedy"), help="the mean of all, or of those that do not lower the score")
    add("--base", metavar="NETWORK", help="task arithmetic: what the networks were trained from")
    add("--scale", type=float, metavar="S", help="of the task vectors, with --base")
    add("--common", action="store_true", help="mix what all networks have; the rest is that of the first")
    data = parser.add_argument_group("the data of a run, opened for a choice and for the statistics of batch norm")
    add = data.add_argument
    add("--choose", choices=CHOICES, help="what sweep and greedy soup go by: accuracy on source validation rows "
        "(default), on the k labelled target rows, infomax (no labels), oracle (target test labels)")  # fmt: skip
    add("--keep-statistics", action="store_true", help="mix the running statistics of batch norm as parameters")
    add("--domains", choices=("both", "source", "target"), help="whose training rows estimate them (default: what the "
        "methods of the runs feed to their networks)")  # fmt: skip
    add("--batches", type=int, metavar="N", help="training batches that estimate the statistics (default: one pass)")
    add("--run", type=Path, metavar="RUN", help="the run whose data they are (default: that of the first network)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = _parser()
    chosen = parser.parse_args(argv)
    chosen.choosing = chosen.sweep or chosen.soup == "greedy"
    ways = [name for name in ("sweep", "soup", "base") if getattr(chosen, name)]
    n = len(chosen.networks)
    for wrong, message in (
        (chosen.out.suffix != ".ckpt", f"--out {chosen.out} must end in .ckpt"),
        (len(ways) > 1, f"--{' and --'.join(ways)} are different ways: choose one"),
        (ways and chosen.alpha is not None, f"--alpha is not for --{ways[0] if ways else ''}"),
        (chosen.group and ways not in ([], ["sweep"]), f"--group is not for --{ways[0] if ways else ''}"),
        (chosen.sweep and n != 2, f"--sweep is for two networks, not {n}"),
        (not ways and n == 1, "one network is no mix: give two or more, or --base"),
        (not ways and n > 2 and chosen.alpha is None, f"{n} networks: give --alpha a share for each, --soup or --base"),
        ((chosen.base is None) != (chosen.scale is None), "--base and --scale go together"),
        (chosen.scale is not None and not math.isfinite(chosen.scale), f"--scale {chosen.scale} is no number"),
        (chosen.points is not None and not chosen.sweep, "--points is for --sweep"),
        (chosen.choose and not chosen.choosing, "--choose is for --sweep and --soup greedy: nothing else is chosen"),
    ):
        if wrong:
            parser.error(message)
    try:
        chosen.shares = None if ways else _shares(chosen.alpha or "0.5", n, "--alpha")
        groups = [word.partition("=") for word in chosen.group]
        chosen.groups = {name: _shares(value, n, f"--group {name}") for name, _, value in groups}
        if len(chosen.groups) < len(groups):
            raise ValueError(f"--group names {', '.join(name for name, *_ in groups)}: one of them twice")
        chosen.alphas = alphas(11 if chosen.points is None else chosen.points)
    except ValueError as error:
        parser.error(str(error))
    return chosen


def _shares(text: str, n: int, option: str) -> list[float]:
    """Return a share for each of n networks, of which there may be only the first of two."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    values = [values[0], 1 - values[0]] if len(values) == 1 and n == 2 else values
    if len(values) != n or not all(map(math.isfinite, values)) or abs(sum(values) - 1) > 1e-6:
        expected = "a number, or 2 that add up to 1" if n == 2 else f"{n} numbers that add up to 1"
        raise ValueError(f"{option} {text or 'without =A'}: expected {expected}")
    return values


def _fuse(chosen: argparse.Namespace) -> None:
    _check_place(chosen)
    # Imported here: PyTorch takes seconds, which --help and mistakes in the options save.
    from da.fuse.mixing import Fusing
    from da.fuse.networks import check_classes, read_network, write_network
    from da.stage import quiet
    from da.transfer.fusion import common
    from da.use import read_config

    quiet()
    base = [chosen.base] if chosen.base else []
    given = [read_network(name, chosen.weights) for name in [*base, *chosen.networks]]
    if chosen.run is not None:
        read_config(chosen.run)
    check_classes(given, chosen.run)
    states, fixed = [network.state for network in given], {}
    record: dict[str, Any] = {"networks": [network.name for network in given]}
    if chosen.common:
        states, kept, left_out = common(states)
        fixed = {key: states[0][key] for key in kept}
        record |= {"kept": kept, "left_out": left_out}
        _say_common(len(states[0]), kept, left_out, given[0].name)
    runs = [run for run in (chosen.run, *(network.run for network in [*given[len(base) :], *given])) if run is not None]
    domains = frozenset(("source", "target") if chosen.domains == "both" else [chosen.domains])
    fusing = Fusing(
        states,
        runs,
        fixed,
        chosen.keep_statistics,
        chosen.choose or "source",
        domains if chosen.domains else None,
        chosen.device,
        chosen.batches,
    )
    if chosen.sweep:
        fused = _sweep(fusing, chosen)
    elif chosen.soup:
        fused = fusing.soup(chosen.soup)
    elif chosen.base:
        fused = fusing.add(chosen.scale)
    else:
        fused = fusing.mix(chosen.shares, chosen.groups)
    record |= {"run": str(runs[0]) if runs else None, **fused.record}
    write_network(chosen.out, fused.state, record)
    _say(record, chosen)


def _check_place(chosen: argparse.Namespace) -> None:
    """Raise, before hours of work, where the result can't be written."""
    out = chosen.out
    if not out.parent.is_dir():
        raise FileNotFoundError(f"--out {out}: there is no folder {out.parent}")
    given = [*([chosen.base] if chosen.base else []), *chosen.networks]
    if any(out.resolve() == Path(name).resolve() for name in given):
        raise ValueError(f"--out {out} is one of the networks: choose another name")


def _sweep(fusing: "Fusing", chosen: argparse.Namespace) -> "Fused":
    import polars as pl

    from da.report.barrier import barrier_figure

    fused, points, alpha = fusing.sweep(chosen.alphas, chosen.groups)
    choice = fusing.choice
    pl.DataFrame(points, infer_schema_length=None).write_csv(chosen.out.with_suffix(".csv"))
    names = (chosen.networks[0], chosen.networks[1])
    barrier_figure(points, chosen.out.with_suffix(".png"), names, alpha, f"{choice}: {MEANING[choice]}")
    for loss, what in (("source_loss", "source validation rows"), ("oracle_target_loss", "oracle: target test rows")):
        found = barrier(points, loss)
        height, at = found or (0.0, 0.0)
        said = f"{height:.4f} at alpha {at:g}" if height else "no labels" if found is None else "none"
        print(f"barrier, {what}: {said}")
    print(f"table and figure: {chosen.out.with_suffix('.csv')}, {chosen.out.with_suffix('.png')}")
    return fused


def _say_common(entries: int, kept: Sequence[str], left_out: Sequence[str], first: str) -> None:
    print(f"common: {entries - len(kept)} of {entries} entries of {first} are in all networks, and mixed")
    for keys, what in ((kept, f"kept from {first}, missing in another"), (left_out, f"left out, not in {first}")):
        if keys:
            print(f"  {what} ({len(keys)}): {', '.join(keys)}")


def _say(record: Mapping[str, Any], chosen: argparse.Namespace) -> None:
    """Print what was mixed, what chose, what was done about the statistics, and where it is."""
    names = record["networks"]
    shares = record.get("shares")
    if shares:
        print(" + ".join(f"{share:g} {name}" for share, name in zip(shares, names, strict=True)))
        for group, own in record["groups"].items():
            print(f"  {group}: " + " + ".join(f"{share:g} {name}" for share, name in zip(own, names, strict=True)))
    elif "scale" in record:
        print(f"{names[0]} + {record['scale']:g} times the task vectors of {', '.join(names[1:])}")
    else:
        used = [names[i] for i in record.get("soup", range(len(names)))]
        print(f"mean of {len(used)} of {len(names)} networks: {', '.join(used)}")
    if "chosen_by" in record:
        print(f"chosen by {record['chosen_by']} ({MEANING[record['chosen_by']]}): {record['score']:.4f}")
    print(record["statistics"] or "statistics of batch norm: none, or those of one network, which still hold")
    print(f"written: {chosen.out}")
