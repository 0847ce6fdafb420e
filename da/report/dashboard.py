"""`da wandb`: the dashboard of a Weights & Biases project as code."""

import argparse
import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from da.command import Parser, run_command
from da.record import VALIDATOR, write_whole

GROUP = "config:names.method"
"""Runs are drawn as the mean and range of their method's."""


class Lines(NamedTuple):
    """A panel of curves over batches: every metric whose name matches."""

    title: str
    pattern: str


class Bars(NamedTuple):
    """A panel of the last value of some metrics, by method."""

    title: str
    metrics: tuple[str, ...]


class Pictures(NamedTuple):
    """A panel of figures."""

    names: tuple[str, ...]


SECTIONS: dict[str, tuple[Lines | Bars | Pictures, ...]] = {
    "Objective": (
        Lines("loss", r"train/loss.*"),
        Lines("terms, unweighted", r"train/(?!loss|weight|reversal|lr)[^/]+"),
        Lines("lambda", r"train/weight/.*"),
        Lines("reversal", r"train/reversal/.*"),
        Lines("learning rate", r"train/lr"),
    ),
    "Do the terms act?": (
        Lines("gradient of lambda D over that of L_S", r"alignment/.*/ratio"),
        Lines("cosine of the two gradients", r"alignment/.*/cosine"),
        Lines("accuracy of discriminators: 0.5 is that they can't tell", r"train/.*/accuracy"),
    ),
    "Without target labels": (Lines("validators", f"{VALIDATOR}.*"), Lines("source accuracy", r"val/source_acc")),
    "ORACLE: by target labels, for people": (
        Lines("target accuracy", r"oracle/target_acc"),
        Bars("target test accuracy, last weights", ("test/target_acc/last",)),
        Bars("target test accuracy, selected weights", ("test/target_acc/selected",)),
        Pictures(("figures/confusion", "figures/per_class")),
    ),
    "Features": (Pictures(("figures/features", "figures/curves")), Pictures(("figures/epochs",))),
    "Cost": (Bars("seconds", ("cost/seconds",)), Bars("peak memory, MiB", ("cost/peak_memory_mib",))),
}
"""The keys are those of metrics.csv (docs/pages/metrics.md)."""


def main(argv: list[str]) -> int:
    """Run `da wandb` with the words after it; see `run_command` for the exit status."""
    return run_command("wandb", lambda: _wandb(_arguments(argv)))


def build_workspace(entity: str, project: str) -> Any:
    """Return the dashboard, a `Workspace` of wandb-workspaces, not saved anywhere.

    Raises ImportError, naming the extra, where the package is not there.
    """
    try:
        parts, workspaces = (import_module(f"wandb_workspaces.{name}") for name in ("reports.v2", "workspaces"))
    except ImportError as error:
        raise ImportError("da wandb needs wandb-workspaces: pip install 'lambda-da[dashboards]'") from error

    def panel(what: Lines | Bars | Pictures) -> Any:
        match what:
            case Lines(title, pattern):
                return parts.LinePlot(
                    title=title, x="step", metric_regex=pattern, groupby=GROUP, groupby_rangefunc="minmax"
                )
            case Bars(title, metrics):
                return parts.BarPlot(title=title, metrics=list(metrics), groupby=GROUP)
            case Pictures(names):
                return parts.MediaBrowser(media_keys=list(names))

    sections = [
        workspaces.Section(name=name, panels=[panel(one) for one in panels], is_open=True)
        for name, panels in SECTIONS.items()
    ]
    return workspaces.Workspace(entity=entity, project=project, name="Domain adaptation", sections=sections)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da wandb",
        description="Write the dashboard of a W&B project as a file, or save it there. It shows runs that were trained "
        "with logger=wandb: lambda and D over time, whether terms act, validators, oracles, figures, cost.",
    )
    parser.add_argument("--project", default="lambda-da", help="as logger.project (lambda-da)")
    parser.add_argument("--entity", default="me", help="user or team (me; W&B's own name for it where it is saved)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write it; needs no account")
    parser.add_argument("--save", action="store_true", help="save it to W&B, which needs a network and an account")
    arguments = parser.parse_args(argv)
    if arguments.out is None and not arguments.save:
        parser.error("give --out FILE.json, or --save")
    return arguments


def _wandb(arguments: argparse.Namespace) -> None:
    workspace = build_workspace(arguments.entity, arguments.project)
    if arguments.out is not None:
        # The package has no public way to write a workspace down; a test sees that this one still is there.
        model = workspace._to_model()
        content = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
        write_whole(arguments.out, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        print(arguments.out)
    if arguments.save:
        workspace.save()
        print(workspace.url)
