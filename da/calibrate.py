"""`da calibrate`: a temperature for the network of a finished run, without target labels."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from da.command import Parser, run_command

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from da.types import Role
    from da.use import FinishedRun

By = Literal["source", "transcal"]


class Errors(NamedTuple):
    """Calibration errors of labelled rows: expected calibration error over 15 bins, Brier score."""

    ece: float
    brier: float


class Calibration(NamedTuple):
    """A temperature, and what it does to the rows that it was fitted to and, if asked, to the target's."""

    temperature: float
    before: float  # mean negative log-likelihood of the source rows in nats, without it
    after: float  # and with it
    rows: int  # of the source
    said: str = ""  # of how it was found
    target: tuple[Errors, Errors] | None = None  # test rows without and with it. An ORACLE: target labels say it


def main(argv: list[str]) -> int:
    """Run `da calibrate` with the words after it; see `run_command` for the exit status."""
    return run_command("calibrate", lambda: _calibrate(_arguments(argv)))


def calibrate(
    folder: str,
    weights: str = "selected",
    batch_size: int = 256,
    device: str = "auto",
    by: By = "source",
    oracle: bool = False,
    plot: Path | None = None,
) -> Calibration:
    """Fit the temperature of a run's network to the held-out rows of its source, or to the target without its labels.

    Args:
        folder: of a run; its data must be where they were.
        weights: as in `da.use.open_run`.
        batch_size: rows that the network is given at a time.
        device: auto, cpu or cuda.
        by: "source" makes the labels of held-out source rows most likely, and does not open the target; "transcal"
            weighs those rows to stand for the target (`da.transfer.calibration.transcal`) and reads its training rows.
        oracle: whether to measure, with target labels, what the temperature does to the target's test rows.
        plot: where to draw the reliability diagram of that, or without `oracle` of the source rows.

    Raises FileNotFoundError or ValueError as `open_run` and `da.transfer.teachers.fit_temperature`, and ValueError for
    a source of which no row was held out: on the rows that it was trained on a network is too sure.
    """
    from torch.nn.functional import cross_entropy

    from da.transfer.teachers import fit_temperature
    from da.use import choose_device, open_run

    run, on = open_run(folder, weights), choose_device(device)
    domain = run.data.domain("source")
    if getattr(run.data, "val_fraction", None) == 0:
        raise ValueError(
            f"no row of the source {domain.name!r} of {folder} was held out (data.val_fraction=0), and of the rows "
            "that it was trained on a network is too sure"
        )
    run.data.eval_batch_size = batch_size
    z, logits = _outputs(run, "source", on)
    y = run.data.eval_set("source", "val").y
    said = ""
    if by == "source":
        try:
            temperature = fit_temperature(logits, y)
        except ValueError as error:
            raise ValueError(f"the source rows of {folder}: {error}") from error
    else:
        temperature, said = _transcal(z, logits, y, *_outputs(run, "target", on))
    before, after = (float(cross_entropy(logits / t, y)) for t in (1.0, temperature))
    shown = _test_rows(run, on) if oracle else (logits, y)
    errors = tuple(_errors(shown[0] / t, shown[1]) for t in (1.0, temperature))
    if plot is not None:
        from da.report.reliability import reliability_figure

        reliability_figure(*shown, temperature, plot, "target test rows (ORACLE)" if oracle else "held-out source rows")
    return Calibration(temperature, before, after, len(y), said, (errors[0], errors[1]) if oracle else None)


def _transcal(z_s: "Tensor", logits_s: "Tensor", y: "Tensor", z_t: "Tensor", logits_t: "Tensor") -> tuple[float, str]:
    from da.transfer.calibration import transcal
    from da.transfer.probes import domain_log_odds
    from da.transfer.teachers import fit_temperature

    try:
        source_temperature = fit_temperature(logits_s, y)
    except ValueError:  # all right, or none better than by chance
        source_temperature = 1.0
    confidence = float((logits_s / source_temperature).softmax(dim=1).amax(dim=1).mean())
    right = (logits_s.argmax(dim=1) == y).double()
    odds = domain_log_odds(z_s, z_t, min(5, len(z_s), len(z_t)))[: len(z_s)].exp()
    found = transcal(logits_t, right, odds, confidence)
    said = f"TransCal: target accuracy estimated as {found.accuracy:.1%}, weights to the power of {found.meta:g}"
    return found.temperature, said


def _outputs(run: "FinishedRun", role: "Role", device: "torch.device") -> "tuple[Tensor, Tensor]":
    """Features and logits, in float64, of the rows of a domain that are scored at validations."""
    import torch

    from da.use import moved

    net, parts = run.net.to(device).eval(), []
    with torch.inference_mode():
        for samples in run.data.eval_loader(run.data.eval_set(role, "val"), shared=False):
            z, logits = net(moved(samples.x, device))
            parts.append((z.double().cpu(), net.logits_of(role, logits).double().cpu()))
    z, logits = (torch.cat(column) for column in zip(*parts, strict=True))
    return z, logits


def _test_rows(run: "FinishedRun", device: "torch.device") -> "tuple[Tensor, Tensor]":
    """Logits and labels of the target's test rows that have one."""
    from da.types import HIDDEN
    from da.use import network_logits

    rows = run.data.eval_set("target", "test")
    batches = (samples.x for samples in run.data.eval_loader(rows, shared=False))
    logits, known = network_logits(run.net, batches, device).double(), rows.y != HIDDEN
    if not known.any():
        raise ValueError(f"--oracle: the target of {run.folder} has no labels")
    return logits[known], rows.y[known]


def _errors(logits: "Tensor", y: "Tensor") -> Errors:
    from da.transfer.calibration import brier_score, expected_calibration_error, reliability

    p = logits.softmax(dim=1)
    return Errors(expected_calibration_error(reliability(p, y)), brier_score(p, y))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da calibrate",
        description="Print the temperature that suits the network of each run best, by the labels of source rows that "
        "were held out. The source data are needed; target rows are read by transcal only, their labels by --oracle "
        "only. The last line is what method=teachers takes as method.teachers.temperatures.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run of da train")
    parser.add_argument("--by", choices=get_args(By), default="source", help="for the source, or for the target")
    parser.add_argument("--oracle", action="store_true", help="measure it on the target's test rows, by their labels")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw a reliability diagram (of one run)")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments = parser.parse_args(argv)
    if arguments.plot is not None and len(arguments.runs) > 1:
        parser.error("--plot draws one run")
    return arguments


def _calibrate(arguments: argparse.Namespace) -> None:
    values = []
    for folder in arguments.runs:
        found = calibrate(
            folder,
            batch_size=arguments.batch_size,
            device=arguments.device,
            by=arguments.by,
            oracle=arguments.oracle,
            plot=arguments.plot,
        )
        print(
            f"{folder}: T = {found.temperature:.3f}, negative log-likelihood of {found.rows} source rows "
            f"{found.before:.3f} -> {found.after:.3f}"
        )
        if found.said:
            print(f"  {found.said}")
        if found.target:
            (ece, brier), (ece_after, brier_after) = found.target
            print(
                f"  ORACLE, target test rows: ECE {ece:.3f} -> {ece_after:.3f}, Brier {brier:.3f} -> {brier_after:.3f}"
            )
        values.append(f"{found.temperature:.3f}")
    print(f"[{','.join(values)}]")
