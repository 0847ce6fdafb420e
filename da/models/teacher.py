"""A trained network, of any architecture, that is asked about the rows of another one."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from da.models.frozen import FrozenCopy
from da.models.inputs import convert_input
from da.models.network import Network
from da.models.saved import read_run, saved_network


class Teacher(nn.Module):
    """The network of another run, which never trains and is told what the student is given.

    It is in evaluation mode, runs without a graph, and follows the student to its device. It is no part of the state
    dict nor of the parameters: it is read from its path again whenever the student is built, and several large teachers
    would otherwise be written into every checkpoint.

    Args:
        path: folder of a complete run, of any network (its `selected` weights are taken), or a checkpoint of one with
            the student's network.
        student: whose rows it will be given.
        layers: submodules of the teacher whose outputs are in `watched` after each call.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: it is no run or did not finish, the checkpoint does not fit or holds more than tensors, it tells
            another number of classes apart, or reads what the student's rows can't be turned into.
    """

    def __init__(self, path: str | Path, student: Network, layers: Sequence[str] = ()) -> None:
        super().__init__()
        if student.reads_features:
            raise ValueError(f"the teacher {path} reads x, but with data.cache_features=true there are only features")
        self.path = Path(path)
        self.run = None if self.path.is_file() else read_run(self.path)
        self.convert: Callable[[Any], Any] | None = None
        """Turns the student's rows into the teacher's: by `Network.input`, until `da.introduce` knows better."""
        if self.run is None:
            frozen = FrozenCopy(student, layers)
            frozen.load(self.path)
        else:
            net = saved_network(self.run)
            self._check(net, student)
            frozen = FrozenCopy(net, layers)
        self._held = (frozen,)  # in a tuple, where PyTorch does not find it

    def _check(self, net: Network, student: Network) -> None:
        if net.own_classes or student.own_classes:
            raise ValueError(
                f"the teacher {self.path} and the student need one class set: not data.label_sets=separate"
            )
        if net.num_classes != student.num_classes:
            raise ValueError(
                f"the teacher {self.path} tells {net.num_classes} classes apart, but the student {student.num_classes}"
            )
        try:
            self.convert = convert_input(student.input, net.input)
        except ValueError as error:
            raise ValueError(f"the teacher {self.path} does not read the student's rows: {error}") from error

    @property
    def module(self) -> nn.Module:
        """The network, which is not to be changed."""
        return self._held[0].module

    @property
    def watched(self) -> dict[str, Tensor]:
        """Outputs of the layers at the last call."""
        return self._held[0].watched

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Teacher":
        """Follow the student to another device or type."""
        self._held[0]._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        """Return the teacher's (z, logits) for the student's rows."""
        z, logits = self._held[0](x if self.convert is None else self.convert(x))
        return z, logits
