"""Networks as files of torch.export and ONNX: traced, written and read again."""

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from da.data.rows import Draw, Transform
from da.models.network import Network

Format = Literal["torch_export", "onnx"]
SUFFIX: Mapping[Format, str] = {"torch_export": ".pt2", "onnx": ".onnx"}
METADATA = "lambda_da.json"
"""Where both formats keep what else there is to know: an extra file of torch.export, a metadata property of ONNX."""
OUTPUTS = ("logits", "probabilities")

Outputs = tuple[Tensor, ...]
Program = Callable[[Any], Outputs]
"""What a file computes: x, a tensor or a mapping of such, -> logits [n, c] and probabilities [n, c]."""


class Classifier(nn.Module):
    """x -> logits [n, c] and probabilities [n, c], with a transform before the network if there is one."""

    def __init__(self, net: Network, transform: Transform | None = None) -> None:
        super().__init__()
        self.net, self.transform = net.eval(), transform

    def forward(self, x: Any) -> Outputs:
        if self.transform is not None:
            x = self.transform(x, Draw(torch.arange(1), 0))  # the draw matters to nothing that is scored
        logits = self.net.logits_of("target", self.net(x)[1])
        return logits, logits.softmax(dim=1)


def rows_like(described: Mapping[str, Any], n: int, seed: int = 0) -> Any:
    """Return `n` random rows of the shape and type that data.json describes: normal numbers, or bytes, or 0 and 1.

    Of a mapping's whole numbers (tokens, their mask, categories) the ones of a row come first, and there is one at
    least: as the mask of a text that is padded at its end.
    """
    generator = torch.Generator().manual_seed(seed)
    if "shape" not in described:
        parts = {name: rows_like(part, n, seed + i) for i, (name, part) in enumerate(described.items())}
        return {name: part if part.is_floating_point() else _zeros_and_ones(part) for name, part in parts.items()}
    shape, dtype = (n, *described["shape"]), getattr(torch, described["dtype"])
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=dtype)
    return torch.randint(0, min(256, torch.iinfo(dtype).max + 1), shape, generator=generator).to(dtype)


def _zeros_and_ones(part: Tensor) -> Tensor:
    bits = part % 2
    bits[:, :1] = 1
    return bits.sort(dim=1, descending=True).values


def trace(classifier: Classifier, example: Any) -> ExportedProgram:
    """Return the graph for any number of rows; of every other size it is what `example` has.

    Raises ValueError for a network that has no such graph.
    """
    batch = {0: Dim.DYNAMIC}
    sizes = dict.fromkeys(example, batch) if isinstance(example, Mapping) else batch
    try:
        with _silence():
            return torch.export.export(classifier, (example,), dynamic_shapes=(sizes,))
    except Exception as error:  # torch.export raises errors of many kinds
        raise ValueError(f"torch.export can't trace this network: {_first_line(error)}") from error


def save(program: ExportedProgram, form: Format, path: Path, names: tuple[str, ...], metadata: dict[str, Any]) -> None:
    """Write a graph, whose inputs have these names, with its metadata.

    Raises ImportError if the packages of the format are missing, ValueError for a network that ONNX can't express.
    """
    text = json.dumps(metadata, ensure_ascii=False)
    if form == "torch_export":
        with _silence():
            torch.export.save(program, path, extra_files={METADATA: text})
        return
    check_packages(form)
    try:
        with _silence():
            model: Any = torch.onnx.export(
                program, dynamo=True, input_names=list(names), output_names=list(OUTPUTS), verbose=False
            )
    except Exception as error:  # as above
        raise ValueError(f"ONNX can't express this network: {_first_line(error)}") from error
    model.model.metadata_props[METADATA] = text
    with _silence():
        model.save(path, external_data=False)


def load(form: Format, path: Path) -> tuple[Program, dict[str, Any]]:
    """Read a file that `save` wrote; return what it computes, and its metadata."""
    if form == "torch_export":
        extra = {METADATA: ""}
        with _silence():
            module = torch.export.load(path, extra_files=extra).module()
        return module, json.loads(extra[METADATA])
    check_packages(form)
    session = import_module("onnxruntime").InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (first, *_), metadata = session.get_inputs(), session.get_modelmeta().custom_metadata_map

    def compute(x: Any) -> Outputs:
        inputs = x if isinstance(x, Mapping) else {first.name: x}
        outputs = session.run(OUTPUTS, {name: part.numpy() for name, part in inputs.items()})
        return tuple(map(torch.from_numpy, outputs))

    return compute, json.loads(metadata[METADATA])


def check_packages(form: Format) -> None:
    """Raise ImportError if a package is missing that this format needs."""
    for package in ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ():
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(f"--format onnx needs {package}: pip install 'lambda-da[onnx]'") from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep PyTorch's exporters from telling of their own workings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]
