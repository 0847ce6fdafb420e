"""`da train` as a child of `da benchmark`: it ends when its parent does, also one that was killed.

The server that forks the children imports this module, and so all that a run needs, once for all of them.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread

import torch

import da.__main__
import da.run
from da.cli import main


def train(words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run `da train WORDS` on one thread, in a session of its own; what it prints goes to `log`."""
    os.setsid()
    Thread(target=_end_with_parent, daemon=True).start()
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()  # the server has that of the time when it was started
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.modules["__main__"] = da.__main__  # which Lightning starts again for further processes
    sys.argv = [str(da.__main__.__file__), "train", *words]
    sys.exit(main())


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)  # workers too
