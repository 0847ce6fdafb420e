"""What the sub-commands of `da` have in common: one line for an error, and an exit status."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn


class _UsageError(Exception):
    """What argparse has to say about the command line."""


class Parser(argparse.ArgumentParser):
    """An argument parser for `run_command`, which says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(message)


def add_run(parser: Parser) -> None:
    """Add the arguments of `da.use.open_run`: the folder of a run, and which of its weights."""
    parser.add_argument("run", metavar="RUN", help="folder of a run of da train")
    parser.add_argument(
        "--weights",
        default="selected",
        metavar="WHICH",
        help="selected (default: the epoch that the validator chose), last, or the path of a checkpoint",
    )


def stopped() -> int:
    """Say in one line that Ctrl-C ended the command; return the exit status of that, 130."""
    print("stopped: the same command goes on with what is missing", file=sys.stderr, flush=True)
    return 128 + signal.SIGINT


def run_command(name: str, command: Callable[[], None]) -> int:
    """Run a sub-command; 0, or 1 for what couldn't be read, done or written, 2 for wrong usage, 130 for Ctrl-C."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # an arrow isn't worth a crash on a terminal of another encoding
    try:
        command()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough (`da report runs | head`); nothing is left to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return stopped()
    except _UsageError as error:
        print(f"error: {error} (see da {name} --help)", file=sys.stderr)
        return 2
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
