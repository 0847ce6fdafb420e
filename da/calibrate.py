"""`da calibrate`: the temperature of the networks of finished runs, on source rows that they did not train on."""

import argparse
from typing import NamedTuple

from da.command import Parser, run_command


class Calibration(NamedTuple):
    """The temperature of a run's network, and its mean negative log-likelihood in nats without and with it."""

    temperature: float
    before: float
    after: float
    rows: int


def main(argv: list[str]) -> int:
    """Run `da calibrate` with the words after it; see `run_command` for the exit status."""
    return run_command("calibrate", lambda: _calibrate(_arguments(argv)))


def calibrate(folder: str, weights: str = "selected", batch_size: int = 256, device: str = "auto") -> Calibration:
    """Fit the temperature of a run's network to the held-out rows of its source; the target is not opened.

    Args:
        folder: of a run; its source data must be where they were.
        weights: as in `da.use.open_run`.
        batch_size: rows that the network is given at a time.
        device: auto, cpu or cuda.

    Raises FileNotFoundError or ValueError as `open_run` and `da.transfer.teachers.fit_temperature`, and ValueError for
    a source of which no row was held out: on the rows that it was trained on a network is too sure.
    """
    from torch.nn.functional import cross_entropy

    from da.transfer.teachers import fit_temperature
    from da.use import choose_device, network_logits, open_run

    run = open_run(folder, weights)
    domain = run.data.domain("source")
    if getattr(run.data, "val_fraction", None) == 0:
        raise ValueError(
            f"no row of the source {domain.name!r} of {folder} was held out (data.val_fraction=0), and of the rows "
            "that it was trained on a network is too sure"
        )
    run.data.eval_batch_size = batch_size
    rows = run.data.eval_set("source", "val")
    batches = (samples.x for samples in run.data.eval_loader(rows, shared=False))
    logits = network_logits(run.net, batches, choose_device(device), "source").double()
    try:
        temperature = fit_temperature(logits, rows.y)
    except ValueError as error:
        raise ValueError(f"the source rows of {folder}: {error}") from error
    before, after = (float(cross_entropy(logits / t, rows.y)) for t in (1.0, temperature))
    return Calibration(temperature, before, after, len(rows))


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da calibrate",
        description="Print the temperature that suits the network of each run best, by the labels of source rows that "
        "were held out. The source data are needed, target rows are not read. The last line is what method=teachers "
        "takes as method.teachers.temperatures.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="folder of a run of da train")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(argv)


def _calibrate(arguments: argparse.Namespace) -> None:
    found = []
    for folder in arguments.runs:
        fitted = calibrate(folder, batch_size=arguments.batch_size, device=arguments.device)
        print(
            f"{folder}: T = {fitted.temperature:.3f}, negative log-likelihood of {fitted.rows} source rows "
            f"{fitted.before:.3f} -> {fitted.after:.3f}"
        )
        found.append(f"{fitted.temperature:.3f}")
    print(f"[{','.join(found)}]")
