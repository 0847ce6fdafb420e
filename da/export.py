"""`da export`: the network of a finished run as a file that needs no lambda-da."""

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from da.command import Parser, add_run, run_command

if TYPE_CHECKING:
    from da.data.rows import Transform
    from da.exported import Format
    from da.use import FinishedRun

SCHEMA = "da.export/1"
TOLERANCE = 1e-4  # between the outputs of the file and of the checkpoint
TRIED = (1, 2, 5)  # random rows that the file is given at a time
CHECKED = 64  # rows of the user's that it is given


def main(argv: list[str]) -> int:
    """Run `da export` with the words after it; see `run_command` for the exit status."""
    return run_command("export", lambda: _export(_arguments(argv)))


def export(
    run: "FinishedRun", form: "Format", out: Path, with_transform: bool = False, check: str | None = None
) -> float:
    """Write the network of a run to `out`, and what else it takes to use it to `<out>.json`.

    The file computes logits [n, c] and probabilities [n, c], for any n, from what the network reads, or from what the
    data hold (bytes of images, numbers before they are standardised) if the transform is to be in it.

    Args:
        run: see `da.use.open_run`.
        form: "torch_export" or "onnx".
        out: the file to write; it is there whole, or not at all.
        with_transform: whether the transform is part of the graph.
        check: rows to compare the file with the checkpoint on, as `da predict` reads them, beside random ones.

    Returns:
        The largest difference between the outputs of the file and of the checkpoint, relative to the largest output
        where that is above 1.

    Raises ValueError for a difference above `TOLERANCE`, and for a network that the format can't express.
    """
    from da import exported
    from da.models.adapters import merged

    exported.check_packages(form)
    transform = _transform(run)
    described = run.recorded["input"]["stored" if with_transform else "network"]
    first = transform if with_transform else None
    classifier, folded = exported.Classifier(run.net, first), exported.Classifier(merged(run.net), first)
    batches = [exported.rows_like(described, n, seed=n) for n in TRIED]
    if check is not None:
        batches.append(_rows(run, check, None if with_transform else transform))
    expected = [_outputs(classifier, x) for x in batches]  # before tracing: a transform may remember what it computes
    metadata = _metadata(run, form, described, transform, with_transform)
    with TemporaryDirectory(dir=out.parent, prefix=".da-export-") as folder:
        draft, note = Path(folder) / out.name, Path(folder) / "metadata.json"
        program = exported.trace(folded, batches[1])
        exported.save(program, form, draft, tuple(metadata["inputs"]), metadata)
        computed, _ = exported.load(form, draft)
        difference = max(_difference(_outputs(computed, x), y) for x, y in zip(batches, expected, strict=True))
        if not difference <= TOLERANCE:
            raise ValueError(
                f"the {form} file differs from {run.checkpoint} by {difference:.2g}, more than {TOLERANCE:g}: "
                "it was not written"
            )
        note.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(out)
        note.replace(out.with_name(f"{out.name}.json"))
    return difference


def _outputs(program: Any, x: Any) -> Any:
    import torch

    with torch.no_grad():
        return program(x)


def _difference(a: Any, b: Any) -> float:
    return max(float((x - y).abs().max() / y.abs().max().clamp(min=1)) for x, y in zip(a, b, strict=True))


def _transform(run: "FinishedRun") -> "Transform | None":
    """What turns rows of the target as the data hold them into what the network reads."""
    if not hasattr(run.data, "transforms"):
        return None
    scored: Transform | None = run.data.transforms(getattr(run.data, "target", ""))[1]
    return scored


def _rows(run: "FinishedRun", where: str, transform: "Transform | None") -> Any:
    """The first new rows, as they are read or as they come out of the transform."""
    import torch

    from da.data.rows import Draw, TensorRows
    from da.types import take_rows

    rows, _ = run.data.inputs(where)
    assert isinstance(rows, TensorRows)
    first = Draw(torch.arange(min(CHECKED, len(rows))), 0)
    x = take_rows(rows.x, first.rows)
    return x if transform is None else transform(x, first)


def _metadata(
    run: "FinishedRun", form: str, described: Mapping[str, Any], transform: "Transform | None", with_transform: bool
) -> dict[str, Any]:
    """What the sidecar says, in json's types."""
    inputs = {"x": described} if "shape" in described else described
    results = run.results
    return {
        "schema": SCHEMA,
        "format": form,
        "classes": run.recorded["classes"],
        "inputs": {name: {**part, "shape": ["batch", *part["shape"]]} for name, part in inputs.items()},
        "outputs": {name: ["batch", len(run.recorded["classes"])] for name in ("logits", "probabilities")},
        "transform": _described(transform),
        "transform_in_file": with_transform,
        "net_input": run.net.input,
        "run": {key: results[key] for key in ("method", "data", "net", "source", "target", "seed", "config_hash")}
        | {"checkpoint": run.checkpoint.name, "sha256": hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()},
        "versions": results["versions"],
    }


def _described(transform: Any) -> Any:
    """A transform with its settings, in json's types."""
    if dataclasses.is_dataclass(transform):
        settings = {field.name: _described(getattr(transform, field.name)) for field in dataclasses.fields(transform)}
        return {"name": type(transform).__name__, **settings}
    if isinstance(transform, tuple | list):
        return [_described(part) for part in transform]
    return transform if isinstance(transform, int | float | str | bool | None) else repr(transform)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="da export",
        description="Write the network of a run, x -> logits and probabilities, as a file that needs no lambda-da, and "
        "FILE.json beside it: classes, inputs, transform. The file is compared with the checkpoint.",
    )
    add_run(parser)
    parser.add_argument("--format", required=True, choices=("torch_export", "onnx"))
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: RUN/network.pt2 or RUN/network.onnx")
    parser.add_argument(
        "--with-transform",
        action="store_true",
        help="the file takes what the data hold (bytes of images, numbers before they are standardised), and not what "
        "the network reads",
    )
    parser.add_argument(
        "--check", metavar="INPUTS", help="compare with the checkpoint on these rows too, as da predict reads them"
    )
    return parser.parse_args(argv)


def _export(arguments: argparse.Namespace) -> None:
    from da.exported import SUFFIX, check_packages
    from da.use import open_run

    check_packages(arguments.format)
    run = open_run(arguments.run, arguments.weights)
    out = arguments.out or run.folder / f"network{SUFFIX[arguments.format]}"
    if out.suffix != SUFFIX[arguments.format]:
        raise ValueError(f"--out {out}: a file of --format {arguments.format} ends in {SUFFIX[arguments.format]}")
    difference = export(run, arguments.format, out, arguments.with_transform, arguments.check)
    for notice in run.data.notices:
        print(f"data: {notice}", file=sys.stderr)
    print(f"{out}: outputs differ from the checkpoint's by at most {difference:.2g}")
